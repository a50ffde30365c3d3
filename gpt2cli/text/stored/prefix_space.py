"""The space that some tokenizers put before a text, and tokenizers that put none for a while."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gpt2cli.text.stored.spelling import steps

if TYPE_CHECKING:
    import tokenizers


def adds_space(library: tokenizers.Tokenizer) -> bool:
    """Return whether the library puts a space before a text that begins with something else."""
    return any(_without_space(step) != [step] for part in _parts(library) for step in steps(part))


@contextmanager
def adding_no_space(library: tokenizers.Tokenizer) -> Iterator[None]:
    """Have the library put no space before a text for a while."""
    from tokenizers import normalizers, pre_tokenizers

    normalizer, splitter = _parts(library)
    try:
        if normalizer:
            library.normalizer = _sequence(normalizers.Sequence([]), "normalizers", normalizer)
        if splitter:
            library.pre_tokenizer = _sequence(pre_tokenizers.Sequence([]), "pretokenizers", splitter)
        yield
    finally:
        # It may not be set to None, which it is in this case already.
        if normalizer:
            library.normalizer = normalizer
        if splitter:
            library.pre_tokenizer = splitter


def _parts(library: tokenizers.Tokenizer) -> tuple[Any, Any]:
    return library.normalizer, library.pre_tokenizer


def _sequence(sequence: Any, key: str, part: Any) -> Any:
    kept = [changed for step in steps(part) for changed in _without_space(step)]
    sequence.__setstate__(json.dumps({"type": "Sequence", key: kept}).encode())
    return sequence


def _without_space(step: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a step of a tokenizer, or none, that does the same but adds no space."""
    if step["type"] == "Prepend":
        return []
    never = {"add_prefix_space": False, "prepend_scheme": "never"}
    return [{key: never.get(key, value) for key, value in step.items()}]
