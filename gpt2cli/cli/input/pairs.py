"""Minimal pairs from a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpt2cli.cli.input.text import read_text, source_name
from gpt2cli.cli.output.messages import Messages

if TYPE_CHECKING:
    from gpt2cli.scoring.pairs.sentences import Sentence


def read_pairs(source: str, messages: Messages) -> list[Sentence]:
    """Return the sentences of a table of pairs, after a note on items that lack a condition.

    Raises:
        InputError: the table cannot be read, or is none.
    """
    from gpt2cli.scoring.pairs.sentences import missing_conditions, parse_pairs

    name = source_name(source)
    sentences = parse_pairs(read_text(source), name)
    if missing := missing_conditions(sentences):
        messages.note(f"note: {name}: {missing}")
    return sentences
