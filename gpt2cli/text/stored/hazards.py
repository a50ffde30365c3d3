"""What a tokenizer's files may do: end the process, choose at random, or grow texts without limit."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gpt2cli.errors import CheckpointError, shown
from gpt2cli.text.stored.spelling import steps

if TYPE_CHECKING:
    import tokenizers

# Real ones put one character in place of another.
MOST_GROWTH = 16
# Real ones add one or two special tokens to a text. Few words in a file can stand for billions.
MOST_ADDED = 1024
# To write a vocabulary, the library counts to the largest id and keeps those that it lacks.
MOST_IDS = 1 << 24
# A prefix, a table of characters, or a key that may be either behind escapes.
SUSPECT = re.compile(rb'"continuing_subword_prefix"\s*:\s*(?!null)|"precompiled_charsmap"|\\u00[2-7]')
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
# Letters, spaces, a line end, digits, and characters of several bytes.
PROBE = " Aé\t1 \n\n한😀a\u0301--"


def require_sound(description: bytes) -> None:
    """Check what the library does not: at this it would end the process, or take all memory.

    Raises:
        CheckpointError: an id, a prefix or a table of characters is not sound.
        ValueError: the description is not JSON.
    """
    has_large = b":00000000" in description.translate(_ZEROS, b" \t\r\n")
    if has_large or SUSPECT.search(description):
        # The library reads a part that is there twice twice.
        json.loads(description, object_hook=_require_sound_part)


def require_few(ids: Iterator[object]) -> None:
    """Check that ids are such as a vocabulary can have.

    Raises:
        CheckpointError: one is not.
    """
    for token_id in ids:
        if isinstance(token_id, int) and token_id >= MOST_IDS:
            raise CheckpointError(f"it has the id {shown(token_id)}, and ids must be below {MOST_IDS:,}")


def require_harmless(library: tokenizers.Tokenizer) -> None:
    """Check that the library can encode and decode a text, and that no step makes texts grow without limit.

    Raises:
        CheckpointError: it cannot, or one does.
    """
    growth = 1.0
    for step in (*steps(library.normalizer), *steps(library.decoder)):
        growth *= max(1.0, _growth(step))
    if growth > MOST_GROWTH:
        raise CheckpointError(f"its replacements make a text more than {MOST_GROWTH} times as long")
    added = library.num_special_tokens_to_add(is_pair=False)
    if added > MOST_ADDED:
        raise CheckpointError(f"it adds {added:,} special tokens to a text, more than {MOST_ADDED:,}")
    # The library refuses a text for which it lacks tokens, which is no damage.
    with suppress(Exception):
        library.decode(library.encode(PROBE, add_special_tokens=False).ids)


def without_dropout(library: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return a tokenizer that makes the same ids of a text every time, and not at random, as in training."""
    if getattr(library.model, "dropout", None) is not None:
        library.model.dropout = None
    return library


def _growth(step: dict[str, Any]) -> float:
    """Return how many times as long a replacement can make a text."""
    if step["type"] != "Replace":
        return 1.0
    # A regular expression may match between any two characters.
    old = step["pattern"].get("String", "")
    added = len(step["content"])
    return added / len(old) if old else added + 1.0


def _require_sound_part(part: dict[str, Any]) -> dict[str, Any]:
    require_few(iter(part.values()))
    prefix = part.get("continuing_subword_prefix")
    if isinstance(prefix, str) and prefix:
        _require_prefix(part, prefix)
    table = part.get("precompiled_charsmap")
    # It begins with the size of its first half.
    if isinstance(table, str) and int.from_bytes((data := b64decode(table))[:4], "little") > len(data) - 4:
        raise CheckpointError("its precompiled_charsmap is cut off")
    return part


def _require_prefix(model: Mapping[str, Any], prefix: str) -> None:
    """Check that what merges join has the prefix that the library cuts off, whatever is there.

    Cut in the middle of a character, its own text ends the process.
    """
    for merge in model.get("merges") or ():
        right = merge.partition(" ")[2] if isinstance(merge, str) else merge[-1]
        if not right.startswith(prefix):
            raise CheckpointError(f"its merges do not join tokens with the prefix {shown(prefix)}")
