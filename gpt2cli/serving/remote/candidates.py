"""What may follow a text, as a server says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpt2cli.scoring.rows import Candidate, NextToken

if TYPE_CHECKING:
    from gpt2cli.scoring.settings import NextSettings
    from gpt2cli.serving.remote.connection import ServerConnection


class RemoteContinuations:
    """What `Continuations` has of a text; `ids` are known by their number only.

    Raises:
        UsageError, InputError: as `Continuations` does.
        Error: the server failed.
    """

    def __init__(self, connection: ServerConnection, text: str, settings: NextSettings) -> None:
        asked = {"text": text, "settings": {**vars(settings), "candidates": list(settings.candidates)}}
        told = connection.one("next", asked)
        self.ids = range(told["tokens"])
        self.truncated: bool = told["truncated"]
        self.starts_with_bos: bool = told["starts_with_bos"]
        self._rows = told["rows"]
        self._are_candidates = bool(settings.candidates)

    def rows(self) -> list[NextToken] | list[Candidate]:
        """Return the likeliest tokens or, if there are any, the candidates, likeliest first."""
        if self._are_candidates:
            return [Candidate(**row) for row in self._rows]
        return [NextToken(**row) for row in self._rows]
