"""The version, for modules that need no more of the package."""

__version__ = "0.1.0"
