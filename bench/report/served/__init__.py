"""Sections of what serving's probes measured: one file per probe, with its figures and its paragraph."""
