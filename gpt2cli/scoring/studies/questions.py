"""Questions with given answers: how likely each is, and which a model chooses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal, cast

from gpt2cli.errors import InputError, UsageError, shown
from gpt2cli.generation.prompt import fit_prompt
from gpt2cli.model.loading import LoadedModel
from gpt2cli.model.prefill import prefill
from gpt2cli.scoring.continuations import Continuations, continuation_logprobs
from gpt2cli.scoring.rows import Candidate, in_unit
from gpt2cli.scoring.settings import NextSettings
from gpt2cli.scoring.windows import require_bos
from gpt2cli.text.reading.tables import Table

QuestionProtocol = Literal["lm-eval"]
CONTEXT, CANDIDATES, CONTINUATION, LABEL = "context", "candidates", "continuation", "label"
# What lm-evaluation-harness puts between a context and a choice.
DELIMITER = " "


@dataclass(frozen=True)
class Question:
    """A context and the texts that may follow it.

    `label` is the index of the right one, from 0, if that is known. `columns` are what its rows carry.
    """

    context: str
    candidates: Sequence[str]
    label: int | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CandidateRow:
    """A candidate of a question; candidates count from 0, as labels do.

    `chosen` is 1 for the likeliest, and `chosen_norm` for the likeliest by character.
    """

    candidate: int
    text: str
    tokens: int
    probability: float
    surprisal: float
    chosen: int
    chosen_norm: int


@dataclass(frozen=True)
class Answer:
    """A question and the rows of its candidates, in their order."""

    question: Question
    rows: Sequence[CandidateRow]

    @property
    def acc(self) -> float | None:
        """1 if the likeliest candidate is the right one, 0 if not, None if the right one is not known."""
        label = self.question.label
        return None if label is None else float(self.rows[label].chosen)

    @property
    def acc_norm(self) -> float | None:
        """As `acc`, for the likeliest by character."""
        label = self.question.label
        return None if label is None else float(self.rows[label].chosen_norm)


def questions_of(table: Table) -> Iterator[Question]:
    """Yield the questions of a table: a context, and a list of candidates or one continuation in each row.

    Raises:
        InputError: a row has another form.
    """
    table.require(CONTEXT)
    if CANDIDATES not in table.columns:
        table.require(CONTINUATION)
    for number, row in enumerate(table.rows, 1):
        place = f"{table.name}, row {number}"
        candidates = row[CANDIDATES] if CANDIDATES in table.columns else [row[CONTINUATION]]
        is_list = isinstance(candidates, list) and candidates
        if not is_list or not all(isinstance(text, str) and text for text in candidates):
            raise InputError(f"{place}: {CANDIDATES!r} is no list of texts.")
        if not isinstance(row[CONTEXT], str):
            raise InputError(f"{place}: {CONTEXT!r} is no text.")
        carried = {name: value for name, value in row.items() if name not in (CANDIDATES, CONTINUATION)}
        yield Question(row[CONTEXT], candidates, _label(row.get(LABEL), len(candidates), place), carried)


def answers(
    loaded: LoadedModel,
    questions: Iterable[Question],
    settings: NextSettings,
    protocol: QuestionProtocol | None = None,
) -> Iterator[Answer]:
    """Yield the answer to each question.

    Without a protocol, contexts and candidates are read exactly as they are spelled. lm-eval puts a space
    before a candidate, moves the white space that ends a context to it, and tokenizes both together.

    Raises:
        UsageError, InputError: as `Continuations` does.
    """
    for question in questions:
        if protocol:
            logprobs, counts = _as_lm_eval(loaded, question, settings)
        else:
            logprobs, counts = _as_spelled(loaded, question, settings)
        yield Answer(question, list(_rows(question, logprobs, counts, settings)))


def means(found: Sequence[Answer]) -> dict[str, Any]:
    """Return how many questions have a label, and the shares of those that are right."""
    known = [answer for answer in found if answer.acc is not None]
    values = {
        "acc": [answer.acc or 0.0 for answer in known],
        "acc_norm": [answer.acc_norm or 0.0 for answer in known],
    }
    return {
        "items": len(known),
        **{name: fmean(shares) if shares else None for name, shares in values.items()},
    }


def _as_spelled(
    loaded: LoadedModel, question: Question, settings: NextSettings
) -> tuple[list[float], list[int]]:
    continuations = Continuations(loaded, question.context, settings.for_candidates(question.candidates))
    ranked = cast("list[Candidate]", continuations.rows())
    scale = in_unit(1.0, settings.unit)
    by_text = {row.text: row for row in ranked}
    rows = [by_text[text] for text in question.candidates]
    return [-row.surprisal / scale for row in rows], [row.tokens for row in rows]


def _as_lm_eval(
    loaded: LoadedModel, question: Question, settings: NextSettings
) -> tuple[list[float], list[int]]:
    """Return log-probabilities and numbers of tokens, as `_encode_pair` of lm-evaluation-harness has them."""
    tokenizer, model = loaded.tokenizer, loaded.model
    kept = question.context.rstrip()
    moved = question.context[len(kept) :]
    before = tokenizer.encode(kept, settings.special) if kept else [require_bos(tokenizer.bos_id)]
    found = []
    for text in question.candidates:
        whole = tokenizer.encode(f"{kept}{moved}{DELIMITER}{text}", settings.special)
        found.append(whole[len(before) if kept else 0 :])
    room = max(map(len, found))
    if room > model.config.n_positions:
        raise UsageError(f"A candidate has {room:,} tokens and the context {model.config.n_positions:,}.")
    # It cuts a long context at its beginning.
    ids, _ = fit_prompt(before, model.config.n_positions + 1 - room, 1, "left")
    return continuation_logprobs(model, prefill(model, ids, room), found), [len(ids) for ids in found]


def _rows(
    question: Question, logprobs: Sequence[float], counts: Sequence[int], settings: NextSettings
) -> Iterator[CandidateRow]:
    places = range(len(logprobs))
    chosen = max(places, key=logprobs.__getitem__)
    by_character = [logprob / len(text) for logprob, text in zip(logprobs, question.candidates, strict=True)]
    chosen_norm = max(places, key=by_character.__getitem__)
    for place, text in enumerate(question.candidates):
        yield CandidateRow(
            place,
            text,
            counts[place],
            math.exp(logprobs[place]),
            in_unit(max(0.0, -logprobs[place]), settings.unit),
            int(place == chosen),
            int(place == chosen_norm),
        )


def _label(value: Any, count: int, place: str) -> int | None:
    if value in (None, ""):
        return None
    try:
        label = int(value)
    except (TypeError, ValueError, OverflowError):
        label = -1
    if isinstance(value, bool) or not 0 <= label < count:
        raise InputError(f"{place}: {LABEL!r} is {shown(value)}, no index of {count} candidates from 0.")
    return label
