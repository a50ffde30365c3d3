"""What may follow a text, as rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class NextText(NamedTuple):
    """A continuation and its probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class NextToken:
    """A likely next token; place 1 is the likeliest.

    The text of a token that is not valid UTF-8 alone is `bytes:` and its bytes as \\xNN.
    """

    place: int
    text: str
    id: int
    probability: float
    surprisal: float


@dataclass(frozen=True)
class Candidate:
    """A given continuation of one token or more; place 1 is the likeliest."""

    place: int
    text: str
    tokens: int
    probability: float
    surprisal: float
