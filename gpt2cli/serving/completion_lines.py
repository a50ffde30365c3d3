"""Lines that ask for completions, answered by an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gpt2cli.errors import Error
from gpt2cli.generation.completion import Completion
from gpt2cli.generation.continuation import Continuation
from gpt2cli.generation.engine import Engine
from gpt2cli.generation.requests import Event
from gpt2cli.generation.samples.best_of import likeliest
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.model.loading import LoadedModel
from gpt2cli.model.model import Model
from gpt2cli.serving.answers import answer, delta, failure
from gpt2cli.serving.engine_owner import EngineOwner
from gpt2cli.serving.lines import LINES_AHEAD, Answer, Line, LineRequest, parse_line
from gpt2cli.serving.protocol import CompletionRequest, parse_request
from gpt2cli.serving.seeds import line_seed

if TYPE_CHECKING:
    from gpt2cli.serving.batch_lines import BatchLines

# Nobody reads along, so that more of them may share the time that reading the weights takes.
SAMPLES_AT_ONCE = 64


@dataclass(eq=False)
class _Job:
    """A line whose samples are being made, `left` of which are not complete."""

    line: int
    asked: LineRequest
    request: CompletionRequest
    continuation: Continuation
    left: int
    completions: dict[int, Completion] = field(default_factory=dict)
    tickets: list[int] = field(default_factory=list)


def open_engine(model: Model[Any], rows: int = SAMPLES_AT_ONCE, kv_memory: int | None = None) -> Engine[Any]:
    """Return an engine for lines."""
    model.expect_many_rows()
    # Lines that begin alike mostly follow each other. What is kept takes memory, and time to get it.
    return Engine(model, rows=rows, kv_memory=kv_memory, kept=-(-rows // 2))


class CompletionLines:
    """Answer lines with completions; `settings` are the defaults of all lines, `seed` that of the run."""

    def __init__(
        self,
        loaded: LoadedModel,
        settings: SampleSettings,
        seed: int,
        *,
        echo: bool = False,
        field: str | None = None,
    ) -> None:
        self._loaded = loaded
        self._settings = replace(settings, seed=None)
        self._seed = seed
        self._echo = echo
        self._field = field
        self._owner = EngineOwner(partial(open_engine, loaded.model, settings.batch_size, settings.kv_memory))
        self._answers: list[Answer] = []
        self._batch: BatchLines | None = None

    @property
    def lines_ahead(self) -> int:
        """How many lines may be read before the first is answered."""
        return LINES_AHEAD

    @property
    def has_room(self) -> bool:
        """Whether another line would be of use: enough are at hand for rows that become free."""
        return len(self._owner) < 2 * self._settings.batch_size

    @property
    def idle(self) -> bool:
        """Whether no line waits for an answer."""
        return not (len(self._owner) or self._answers)

    def submit(self, line: Line) -> None:
        """Take a line, which gets an answer even if it makes no sense."""
        asked = None
        try:
            asked = parse_line(line, self._field, "prompt")
            if self._field is None and "custom_id" in asked.fields:
                self._submit_batch(line.number, asked.fields)
                return
            request = parse_request(asked.fields, self._settings, self._echo)
            self._start(line.number, asked, request)
        except Error as error:
            self._answers.append(failure(line.number, asked.id if asked else None, error))

    def step(self) -> Sequence[Answer]:
        """Make the next token of each sample, and return what is now final."""
        self._owner.step()
        answers, self._answers = self._answers, []
        return answers

    def _submit_batch(self, line: int, fields: Mapping[str, Any]) -> None:
        if self._batch is None:
            # Few files have such lines.
            from gpt2cli.serving.batch_lines import BatchLines

            self._batch = BatchLines(self._loaded, self._owner, self._seed, self._answer_with)
        self._batch.submit(line, fields)

    def _answer_with(self, one: Answer) -> None:
        self._answers.append(one)

    def _start(self, line: int, asked: LineRequest, request: CompletionRequest) -> None:
        settings = request.settings
        if settings.seed is None:
            settings = replace(settings, seed=line_seed(self._seed, line, asked.id))
        continuation = Continuation(self._loaded, request.prompt, settings)
        count = settings.best_of or settings.num_samples
        job = _Job(line, asked, request, continuation, count)
        for sample in range(count):
            job.completions[sample] = continuation.completion()
            take = partial(self._take, job, sample)
            try:
                job.tickets.append(self._owner.submit(continuation.request(sample), take))
            except Error:
                self._drop(job)
                raise

    def _take(self, job: _Job, sample: int, event: Event) -> None:
        if event.error:
            self._drop(job)
            self._answers.append(failure(job.line, job.asked.id, event.error))
            return
        completion = job.completions[sample]
        text = ""
        if event.token:
            text = completion.push(event.token)
            if completion.stopped:
                self._owner.stop(event.ticket)
        if event.finish_reason:
            text += completion.finish(event.finish_reason)
            job.left -= 1
        if text and job.request.stream and not job.request.settings.best_of:
            self._answers.append(delta(job.line, job.asked.id, sample, text))
        if not job.left:
            self._answers.append(self._answer(job))

    def _drop(self, job: _Job) -> None:
        for ticket in job.tickets:
            self._owner.cancel(ticket)

    def _answer(self, job: _Job) -> Answer:
        continuation, settings = job.continuation, job.request.settings
        drawn = list(job.completions.values())
        kept = likeliest(job.completions, settings.num_samples) if settings.best_of else job.completions
        echoed = continuation.text if job.request.echo else ""
        body: dict[str, Any] = {} if job.asked.carried is None else {"fields": job.asked.carried}
        made = sum(len(completion.tokens) for completion in drawn)
        body |= {
            "choices": [
                {
                    "index": index,
                    "text": (echoed or "") + completion.text,
                    "token_ids": [token.id for token in completion.tokens],
                    "finish_reason": completion.finish_reason,
                    "logprobs": None if settings.logprobs is None else completion.logprobs_table(),
                }
                for index, completion in enumerate(kept.values())
            ],
            "usage": {"prompt_tokens": len(continuation.prompt.ids), "completion_tokens": made},
            "seed": continuation.seed,
            "prompt_truncated": continuation.prompt.truncated,
            "model": self._loaded.files.name,
        }
        return answer(job.line, job.asked.id, body, made)
