"""The screen of `explore`."""
