"""Lines that ask for scores: of a text, or of a continuation in its context."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from gpt2cli.errors import Error, shown
from gpt2cli.model.loading import LoadedModel
from gpt2cli.scoring.predictions import Predictions, score_texts
from gpt2cli.scoring.rows import exponential
from gpt2cli.scoring.settings import ScoringSettings
from gpt2cli.scoring.text_scorer import open_scorer
from gpt2cli.serving.answers import answer, failure
from gpt2cli.serving.lines import LINES_AHEAD, Answer, Line, LineRequest, parse_line
from gpt2cli.serving.protocol import RequestError

# Enough that texts of a length meet, few enough that the first answer comes soon.
LINES_AT_ONCE = 128


class _Text(NamedTuple):
    """The ids of a line's text, of which those from `first` on are scored."""

    line: int
    asked: LineRequest
    ids: Sequence[int]
    first: int


class ScoreLines:
    """Answer lines with the log-probability, in nats, of a text or of a continuation.

    The tokens of a continuation are scored as they are in the whole text. As in lm-eval, spaces that end the
    context belong to the continuation.
    """

    def __init__(self, loaded: LoadedModel, settings: ScoringSettings, *, field: str | None = None) -> None:
        """Create a worker.

        Raises:
            UsageError: a setting does not fit the model.
        """
        self._loaded = loaded
        self._scorer = open_scorer(loaded, settings)
        self._field = field
        self._next: list[_Text] = []
        self._unscored: deque[_Text] = deque()
        self._scored: Iterator[tuple[_Text, Iterable[Predictions]]] = iter(())
        self._answers: list[Answer] = []

    @property
    def lines_ahead(self) -> int:
        """How many lines may be read before the first is answered."""
        return LINES_AHEAD

    @property
    def has_room(self) -> bool:
        """Whether another line would be of use in the next batch."""
        return len(self._next) < LINES_AT_ONCE

    @property
    def idle(self) -> bool:
        """Whether no line waits for an answer."""
        return not (self._next or self._unscored or self._answers)

    def submit(self, line: Line) -> None:
        """Take a line, which gets an answer even if it makes no sense."""
        asked = None
        try:
            asked = parse_line(line, self._field, "text")
            self._next.append(_Text(line.number, asked, *self._encode(asked.fields)))
        except Error as error:
            self._answers.append(failure(line.number, asked.id if asked else None, error))

    def step(self) -> Sequence[Answer]:
        """Score the next text, of those that were there when the last batch was done."""
        answers, self._answers = self._answers, []
        if not self._unscored and self._next:
            # Texts of a length make the fullest batches.
            texts = sorted(self._next, key=lambda text: len(text.ids))
            self._next, self._unscored = [], deque(texts)
            self._scored = self._score(texts)
        if self._unscored:
            try:
                answers.append(self._answer(*next(self._scored)))
                self._unscored.popleft()
            except Error as error:
                answers += [failure(text.line, text.asked.id, error) for text in self._unscored]
                self._unscored.clear()
        return answers

    def _encode(self, fields: Mapping[str, Any]) -> tuple[Sequence[int], int]:
        """Return the ids of all the text, and the index of the first that is scored."""
        encode, special = self._loaded.tokenizer.encode, self._scorer.special
        if "text" in fields:
            (text,) = _texts(fields, ("text",))
            return encode(text, special), 0
        context, continuation = _texts(fields, ("context", "continuation"))
        kept = context.rstrip()
        return encode(context + continuation, special), len(encode(kept, special)) if kept else 0

    def _score(self, texts: Iterable[_Text]) -> Iterator[tuple[_Text, Iterator[Predictions]]]:
        scorer = self._scorer
        keyed = ((text, [text.ids]) for text in texts)
        scored = score_texts(scorer.model, keyed, scorer.scheme, scorer.room)
        for text, group in groupby(scored, key=lambda pair: pair[0]):
            yield text, (predictions for _, predictions in group)

    def _answer(self, text: _Text, windows: Iterable[Predictions]) -> Answer:
        logprob, count, is_greedy = 0.0, 0, True
        for window in windows:
            first = max(text.first, window.first)
            part = slice(first - window.first, len(text.ids) - window.first)
            logprob += float(window.logprobs[part].sum())
            count += len(window.logprobs[part])
            is_greedy = is_greedy and bool((window.ranks[part] == 1).all())
        body: dict[str, Any] = {} if text.asked.carried is None else {"fields": text.asked.carried}
        body |= {
            "logprob": logprob,
            "is_greedy": is_greedy,
            "tokens": count,
            "perplexity": exponential(-logprob, count),
            "model": self._loaded.files.name,
        }
        return answer(text.line, text.asked.id, body, count)


def _texts(fields: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    if not fields.keys() & {"text", "context", "continuation"}:
        raise RequestError("The line has neither text nor context.", "text", "missing_required_parameter")
    for name in fields:
        if name not in names:
            raise RequestError(
                f"There is no field {shown(name)} beside {names[0]}.", name, "unknown_parameter"
            )
    for name in names:
        if fields.get(name) is None:
            raise RequestError(f"The line has no {name}.", name, "missing_required_parameter")
        if not isinstance(fields[name], str):
            raise RequestError(f"{name} must be a text.", name, "invalid_type")
    return [fields[name] for name in names]
