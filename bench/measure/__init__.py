"""The lab: everything that touches a device. It writes a Run, which is all that leaves it."""
