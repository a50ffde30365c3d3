"""The tokens of a vocabulary that stand for no text."""

END_OF_TEXT = "<|endoftext|>"
