"""GPT-2's tokenizer, which takes a while to make, for all tests."""

from __future__ import annotations

from gpt2cli.text.loading import bundled_tokenizer

TOKENIZER = bundled_tokenizer()
