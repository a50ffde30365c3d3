"""Panics of the library, which are no exceptions to Python and write a report to stderr."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import RLock
from typing import TYPE_CHECKING, TypeAlias

from gpt2cli.errors import CheckpointError
from gpt2cli.text.stored.spelling import steps

if TYPE_CHECKING:
    import tokenizers

# Patterns, which may go back without end, and tables that are in the file.
_PANICKING = ('"Regex"', '"precompiled_charsmap"')
_STDERR = RLock()

# Takes whether special tokens in a text count as such.
Reading: TypeAlias = Callable[[bool], AbstractContextManager[None]]


def reading_of(library: tokenizers.Tokenizer) -> Reading:
    """Return a function that returns what to call the library for a text within.

    The library may panic over a text, although it reads others.
    """
    parts = [json.dumps(step) for part in (library.normalizer, library.pre_tokenizer) for step in steps(part)]
    is_risky = any(name in part for part in parts for name in _PANICKING)

    def reading(special: bool) -> AbstractContextManager[None]:
        library.encode_special_tokens = not special
        return panics_caught("The model's tokenizer cannot encode this text: ") if is_risky else nullcontext()

    return reading


@contextmanager
def panics_caught(what: str = "") -> Iterator[None]:
    """Have a panic of the library raise CheckpointError, whose message begins with `what`, and no report."""
    try:
        with _STDERR, _stderr_closed():
            yield
    except BaseException as error:
        # The class is no Exception, and has no module to import it from.
        if type(error).__name__ == "PanicException":
            raise CheckpointError(f"{what}{' '.join(str(error).split())}") from error
        raise


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
