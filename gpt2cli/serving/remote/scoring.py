"""Texts scored by a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from gpt2cli.scoring.scored_text import ScoredToken, Text
from gpt2cli.scoring.text_scorer import Scoring, TokenScorer

if TYPE_CHECKING:
    from gpt2cli.scoring.predictions import Predictions
    from gpt2cli.scoring.settings import ScoringSettings
    from gpt2cli.serving.remote.connection import ServerConnection

Key = TypeVar("Key")
# So much is sent at once: enough to fill batches, and little enough that an answer comes soon.
TEXTS_AT_ONCE, CHARACTERS_AT_ONCE = 64, 1 << 16
SENT = ("unit", "bos", "window", "stride", "batch_size", "protocol", "special", "correction", "punctuation")


def remote_scoring(connection: ServerConnection, settings: ScoringSettings) -> Scoring:
    """Return what has texts scored by a server.

    Raises:
        UsageError: a setting does not fit the model.
        Error: the server failed.
    """
    sent = {name: getattr(settings, name) for name in SENT}
    metadata = connection.one("score", {"texts": [], "settings": sent})["metadata"]
    return Scoring(RemoteScorer(connection, sent), settings.unit, metadata, settings.punctuation)


class RemoteScorer(TokenScorer):
    """A scorer that asks a server, some texts at a time."""

    def __init__(self, connection: ServerConnection, settings: dict[str, Any]) -> None:
        self._connection = connection
        self._settings = settings

    def windows(self, texts: Iterable[tuple[Key, Text]]) -> Iterator[tuple[Key, Text, Iterator[Predictions]]]:
        """Yield the windows of each text.

        Raises:
            Error: the server failed.
        """
        for key, text, told in self._ask(texts, windows=True):
            yield key, text, (_window(row) for row in told["windows"])

    def tokens(
        self, texts: Iterable[tuple[Key, Text]], words: bool = False
    ) -> Iterator[tuple[Key, Text, Iterator[ScoredToken]]]:
        """Yield the tokens of each text; with `words`, also how likely a word begins at each.

        Raises:
            Error: the server failed.
        """
        for key, text, told in self._ask(texts, words=words):
            yield key, text, map(_token, told["tokens"])

    def _ask(
        self, texts: Iterable[tuple[Key, Text]], **what: bool
    ) -> Iterator[tuple[Key, Text, dict[str, Any]]]:
        for batch in _batches(texts):
            contents = [_sent(text) for _, text in batch]
            lines = self._connection.ask("score", {"texts": contents, "settings": self._settings, **what})
            next(lines)
            for (key, text), told in zip(batch, lines, strict=True):
                yield key, text, told


def _batches(texts: Iterable[tuple[Key, Text]]) -> Iterator[list[tuple[Key, Text]]]:
    batch: list[tuple[Key, Text]] = []
    size = 0
    for key, text in texts:
        batch.append((key, text))
        size += len(text.content)
        if len(batch) == TEXTS_AT_ONCE or size > CHARACTERS_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sent(text: Text) -> dict[str, Any]:
    places = {"start": text.start, "byte_start": text.byte_start, "crlf": list(text.crlf)}
    return {"content": text.content, **places}


def _window(columns: dict[str, Any]) -> Predictions:
    # Protocols alone have their sums from windows, and these are arrays.
    import numpy as np

    from gpt2cli.scoring.predictions import Predictions

    first: int = columns.pop("first")
    return Predictions(first, **{name: np.array(values) for name, values in columns.items()})


def _token(values: list[Any]) -> ScoredToken:
    index, token_id, data, *others = values
    return ScoredToken(index, token_id, data.encode("latin-1"), *others)
