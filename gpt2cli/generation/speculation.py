"""Speculative decoding: draft the next tokens from earlier text and check them in one forward pass.

Leviathan et al., "Fast Inference from Transformers via Speculative Decoding" (2023), with the drafts of
Saxena, "Prompt Lookup Decoding" (2023). A draw here is a function of seed, sample and step, so a draft token
is accepted only if it is the token that would have been drawn, and the text is the same as without drafts, up
to rounding in matrix products whose sums depend on the number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Shorter runs repeat by chance too often, and a rejected draft costs one or two extra passes on numpy.
SHORTEST_MATCH = 3
# With the token before it, a block of 16 rows.
LONGEST_DRAFT = 15


@dataclass
class Drafts:
    """The numbers of forward passes, of draft tokens read, and of those accepted."""

    passes: int = 0
    proposed: int = 0
    accepted: int = 0


class PromptLookup:
    """Draft what followed the latest earlier occurrence of the newest ids, up to the match's length.

    A draft thus doubles with each accepted one, and after a rejected one there is none until the text
    repeats again.
    """

    def __init__(self) -> None:
        self._followers: dict[tuple[int, ...], int] = {}
        self._seen = SHORTEST_MATCH

    def propose(self, ids: Sequence[int], most: int) -> list[int]:
        """Return at most `most` ids that may follow `ids`, which extend those of the last call."""
        self._index(ids)
        start = self._followers.get(tuple(ids[-SHORTEST_MATCH:]))
        if start is None:
            return []
        count = min(_match_length(ids, start), most)
        # A nearby occurrence runs into the draft itself, so its ids repeat.
        period = len(ids) - start
        return [ids[start + step % period] for step in range(count)]

    def _index(self, ids: Sequence[int]) -> None:
        for position in range(self._seen, len(ids)):
            self._followers[tuple(ids[position - SHORTEST_MATCH : position])] = position
        self._seen = max(self._seen, len(ids))


def _match_length(ids: Sequence[int], start: int) -> int:
    length = SHORTEST_MATCH
    while length < min(start, LONGEST_DRAFT) and ids[start - 1 - length] == ids[-1 - length]:
        length += 1
    return length
