"""ridgepoint: empirical rooflines of the machine it stands on."""

__version__ = "0.1.0"
