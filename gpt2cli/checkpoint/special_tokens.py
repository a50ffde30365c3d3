"""Tokens that do not stand for text."""

END_OF_TEXT = "<|endoftext|>"
