"""What a tokenizer's files may do: make the library panic, choose at random, or grow texts without limit."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from gpt2cli.errors import CheckpointError, shown
from gpt2cli.text.stored.spelling import steps

if TYPE_CHECKING:
    import tokenizers

# Real ones put one character in place of another.
MOST_GROWTH = 16
# A prefix, or a key that may be one behind escapes.
PREFIXED = re.compile(rb'"continuing_subword_prefix"\s*:\s*(?!null)|\\u00[2-7]')
# Letters, spaces, a line end, digits, and characters of several bytes.
PROBE = " Aé\t1 \n\n한😀a\u0301--"


@contextmanager
def panics_caught() -> Iterator[None]:
    """Have a panic of the library raise CheckpointError, without the report that it writes to stderr."""
    try:
        with _stderr_closed():
            yield
    except BaseException as error:
        # The class is no Exception, and has no module to import it from.
        if type(error).__name__ == "PanicException":
            raise CheckpointError(" ".join(str(error).split())) from error
        raise


def require_prefixes(description: bytes) -> None:
    """Check that what merges join has the prefix that the library cuts off, whatever is there.

    Cut in the middle of a character, its own text ends the process.

    Raises:
        CheckpointError: it has not.
        ValueError: the description is not JSON.
    """
    if not PREFIXED.search(description):
        return
    model = json.loads(description)["model"]
    prefix = model.get("continuing_subword_prefix")
    for merge in model.get("merges") or () if prefix else ():
        right = merge.partition(" ")[2] if isinstance(merge, str) else merge[-1]
        if not right.startswith(prefix):
            raise CheckpointError(f"its merges do not join tokens with the prefix {shown(prefix)}")


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


@contextmanager
def _stderr_closed() -> Iterator[None]:
    try:
        kept = os.dup(2)
    # There is none.
    except OSError:
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
