"""Options that exclude each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpt2cli.errors import UsageError


def conflicts_of(name: str, others: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of one option with each of the others."""
    return [(name, other) for other in others]


def reject_conflicts(
    given: Mapping[str, bool], pairs: Iterable[tuple[str, str]], implied: Mapping[str, str] | None = None
) -> None:
    """Check that no pair of options was given together; `given` has every name in the pairs.

    `implied` has what the user gave in place of an option that follows from it.

    Raises:
        UsageError: both options of a pair were given; the message names the first such pair.
    """
    for one, other in pairs:
        if given[one] and given[other]:
            labels = implied or {}
            raise UsageError(f"{labels.get(one, one)} and {labels.get(other, other)} exclude each other.")
