"""A live Python runtime for notebook editors, run as a real user service."""

__version__ = "0.4.10"
