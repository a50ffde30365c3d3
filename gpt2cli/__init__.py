"""GPT-2 at the command line."""

__version__ = "0.1.0"
