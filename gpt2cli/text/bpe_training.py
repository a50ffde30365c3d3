"""Byte-level BPE trained on text (Sennrich et al., 2016), with GPT-2's pre-tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.text.byte_pairs import BYTE_OF_SYMBOL

if TYPE_CHECKING:
    import tokenizers

SMALLEST_VOCABULARY = 1 + len(BYTE_OF_SYMBOL)


def suitable_vocab_size(text_bytes: int) -> int:
    """Return a vocabulary size for a text: the largest power of two up to the square root of its bytes."""
    return 1 << min(15, max(9, int(math.log2(max(1, text_bytes)) / 2)))


def train_tokenizer(documents: Iterable[str], vocab_size: int) -> tokenizers.Tokenizer:
    """Learn merges until the vocabulary has the given size or the text has no more pairs.

    `<|endoftext|>` gets id 0, and each of the 256 bytes gets an id.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(BYTE_OF_SYMBOL),
        show_progress=False,
    )
    library.train_from_iterator(_lines(documents), trainer)
    return library


def _lines(documents: Iterable[str]) -> Iterator[str]:
    # The library's memory grows with the longest piece it is given.
    for document in documents:
        yield from document.splitlines(keepends=True)
