"""Options that exclude each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpt2cli.errors import UsageError


def conflicts_of(name: str, others: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of one option with each of the others."""
    return [(name, other) for other in others]


def reject_conflicts(given: Mapping[str, bool], pairs: Iterable[tuple[str, str]]) -> None:
    """Check that no pair of options was given together; `given` has every name in the pairs.

    Raises:
        UsageError: both options of a pair were given; the message names the first such pair.
    """
    for one, other in pairs:
        if given[one] and given[other]:
            raise UsageError(f"{one} and {other} exclude each other.")
