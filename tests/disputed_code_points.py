"""Write the table of code points that gigatoken and tokenizers classify differently.

python tests/disputed_code_points.py > gpt2cli/data/gpt2/disputed_code_points.txt

It is here because the tests use it too, and fail if the table is out of date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import gigatoken
import tiktoken
import tokenizers
from bpe_oracles import GPT2_PATTERN
from tokenizers import models, pre_tokenizers

from gpt2cli.text.byte_pairs import BYTE_OF_SYMBOL

CODE_POINTS = [*range(0xD800), *range(0xE000, 0x110000)]

# In this vocabulary a letter, a digit, a sign and a space merge with whatever byte follows, unless
# the pattern splits there: the ids tell the class of a character, which GPT-2's own need not.
PROBES = b"a1! "
SYMBOLS = {byte: symbol for symbol, byte in BYTE_OF_SYMBOL.items()}
PAIRS = [(SYMBOLS[probe], SYMBOLS[byte]) for probe in PROBES for byte in range(256)]
SPELLINGS = [*(SYMBOLS[byte] for byte in range(256)), *map("".join, PAIRS)]

Encode = Callable[[str], list[int]]


def probing_tokenizers() -> tokenizers.Tokenizer:
    vocabulary = {spelling: token_id for token_id, spelling in enumerate(SPELLINGS)}
    library = tokenizers.Tokenizer(models.BPE(vocabulary, PAIRS))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return library


def encode_with_tokenizers() -> Encode:
    library = probing_tokenizers()
    return lambda text: list(library.encode(text).ids)


def encode_with_gigatoken() -> Encode:
    library = gigatoken.Tokenizer.from_json(probing_tokenizers().to_str())
    return lambda text: library.encode(text).tolist()


def encode_with_tiktoken() -> Encode:
    ranks = {
        bytes(map(BYTE_OF_SYMBOL.__getitem__, spelling)): rank for rank, spelling in enumerate(SPELLINGS)
    }
    library = tiktoken.Encoding("probe", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    return library.encode_ordinary


def disputed_code_points(one: Encode, other: Encode, at_once: int = 512) -> list[int]:
    """Return the code points around which two tokenizers split text differently."""

    def differ(codes: Iterable[int]) -> bool:
        text = "".join(f"a{chr(code)}\n1{chr(code)}\n!{chr(code)}\n {chr(code)}\n" for code in codes)
        return one(text) != other(text)

    groups = (CODE_POINTS[start : start + at_once] for start in range(0, len(CODE_POINTS), at_once))
    return [code for group in groups if differ(group) for code in group if differ([code])]


def as_ranges(codes: Iterable[int]) -> Iterator[str]:
    """Yield ascending code points as the lines of the table: first and last of each range."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][-1] == code - 1:
            ranges[-1][-1] = code
        else:
            ranges.append([code, code])
    return (f"{first:X}-{last:X}" for first, last in ranges)


if __name__ == "__main__":
    print(*as_ranges(disputed_code_points(encode_with_gigatoken(), encode_with_tokenizers())), sep="\n")
