"""GPT-2's tokenizer as tiktoken has it, and texts that distinguish tokenizers."""

from __future__ import annotations

import tiktoken
from hypothesis import strategies as st

from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.text.byte_pairs import BYTE_OF_SYMBOL
from gpt2cli.text.stored.library import BUNDLED_MERGES

GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
FRAGMENTS = [
    "'",
    "'ll",
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\u00a0",
    "\u3000",
    "\x1c",
    "\x85",
    END_OF_TEXT,
    "👍🏽",
    "नि",
    "1",
]
TEXTS = st.text() | st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3)).map("".join)


def make_tiktoken() -> tiktoken.Encoding:
    merges = [line.split(" ") for line in BUNDLED_MERGES.read_text("utf-8").split("\n")[1:] if line]
    tokens = [*BYTE_OF_SYMBOL, *("".join(merge) for merge in merges)]
    spelled = (bytes(BYTE_OF_SYMBOL[symbol] for symbol in token) for token in tokens)
    ranks = {data: rank for rank, data in enumerate(spelled)}
    return tiktoken.Encoding(
        name="gpt2", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: 50256}
    )


TIKTOKEN = make_tiktoken()
