"""Scores for `gpt2 score`: the tokens of texts with their predictions, or the predictions alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from gpt2cli.model.loading import LoadedModel
from gpt2cli.scoring.predictions import Predictions, score_in_parts
from gpt2cli.scoring.scored_text import Text, scored_tokens
from gpt2cli.scoring.settings import ScoringSettings
from gpt2cli.scoring.text_scorer import TextScorer, open_scorer, open_scoring
from gpt2cli.scoring.words import word_starts
from gpt2cli.serving.http.commands.route import Emit
from gpt2cli.serving.http.commands.typed import typed
from gpt2cli.serving.http.service import Service
from gpt2cli.serving.http.tickets import Failure, Tickets
from gpt2cli.serving.protocol import RequestError

TYPES: Mapping[str, tuple[type, ...]] = {
    "unit": (str,),
    "bos": (bool,),
    "window": (int,),
    "stride": (int,),
    "batch_size": (int,),
    "protocol": (str,),
    "correction": (str,),
    "punctuation": (str,),
    "special": (bool,),
}


class _Read(NamedTuple):
    """Texts that were read: their ids, and how they are scored."""

    scorer: TextScorer
    metadata: Mapping[str, Any]
    ids: Sequence[Sequence[int]]


class _Scored(NamedTuple):
    """A text with all its windows."""

    number: int
    windows: Sequence[Predictions]


async def score(service: Service, fields: Mapping[str, Any], emit: Emit) -> None:
    """Tell how texts are scored, then the scores of each in order.

    With `words`, they tell where words may begin; with `windows`, they are those of windows.

    Raises:
        UsageError: a setting does not fit the model.
        InputError: a text is not Unicode.
    """
    given = fields.get("texts")
    if not isinstance(given, list):
        raise RequestError("texts must be a list.", "texts", "invalid_type")
    texts = [_text(value) for value in given]
    words, windows = (fields.get(name) is True for name in ("words", "windows"))
    read = await service.read(_read, service.reading, fields.get("settings"), texts)
    await emit({"metadata": read.metadata})
    if not texts:
        return
    service.metrics.prompt_tokens.inc(sum(map(len, read.ids)))
    with service.room(1), service.working(partial(_begin, service.loaded, read, words)) as mailbox:
        for text in texts:
            scored = await mailbox.get()
            if isinstance(scored, Failure):
                raise scored.error
            if windows:
                await emit({"windows": [_columns(window) for window in scored.windows]})
            else:
                ids = read.ids[scored.number]
                await emit({"tokens": await service.read(_tokens, read.scorer, text, ids, scored)})


def _read(loaded: LoadedModel, settings: Any, texts: Sequence[Text]) -> _Read:
    chosen = typed(ScoringSettings, settings, TYPES)
    scorer = open_scorer(loaded, chosen)
    ids = [loaded.tokenizer.encode(text.content, scorer.special) for text in texts]
    return _Read(scorer, open_scoring(loaded, chosen).metadata, ids)


def _begin(loaded: LoadedModel, read: _Read, words: bool, tickets: Tickets) -> None:
    tickets.add_chore(_score(loaded, read, words, tickets))


def _score(loaded: LoadedModel, read: _Read, words: bool, tickets: Tickets) -> Iterator[None]:
    scorer = read.scorer
    vocab_size = loaded.model.config.vocab_size
    starts = word_starts(loaded.tokenizer, vocab_size, scorer.correction) if words else None
    found: list[Predictions] = []
    number = 0
    # Texts that follow fill a batch, so the windows of a text are complete when the next one's come.
    windows = score_in_parts(
        loaded.model,
        ((number, [ids]) for number, ids in enumerate(read.ids)),
        scorer.scheme,
        scorer.room,
        tickets.positions_at_once,
        starts,
    )
    for scored in windows:
        if scored is None:
            yield
            continue
        current, predictions = scored
        if current != number:
            tickets.post(_Scored(number, found))
            number, found = current, []
        found.append(predictions)
    tickets.post(_Scored(number, found))


def _tokens(scorer: TextScorer, text: Text, ids: Sequence[int], scored: _Scored) -> list[list[Any]]:
    """Return the fields of each token in their order, the bytes as characters below 256."""
    tokens = scored_tokens(text, ids, scored.windows, scorer.tokenizer, scorer.special)
    return [[_plain(value) for value in vars(token).values()] for token in tokens]


def _plain(value: Any) -> Any:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _columns(window: Predictions) -> dict[str, Any]:
    return {name: value if name == "first" else value.tolist() for name, value in vars(window).items()}


def _text(value: Any) -> Text:
    types = {"content": (str,), "start": (int,), "byte_start": (int,), "crlf": (list,)}
    text = typed(Text, value, types)
    if not all(isinstance(place, int) for place in text.crlf):
        raise RequestError("crlf must be a list of places.", "crlf", "invalid_type")
    return text
