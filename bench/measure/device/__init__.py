"""Devices behind one protocol: the host's processors, an NVIDIA GPU, and a datasheet behind a virtual clock."""
