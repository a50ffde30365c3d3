"""A language model as Python programs use it: generate, stream, score, predict the next token."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from gpt2cli.generation.settings import CompletionSettings, SampleSettings
from gpt2cli.hub.reporter import Reporter
from gpt2cli.model import loading
from gpt2cli.model.loading import LoadedModel
from gpt2cli.ops.compute import Compute

if TYPE_CHECKING:
    from gpt2cli.generation.completion import Completion
    from gpt2cli.generation.continuation import Continuation
    from gpt2cli.generation.engine import FinishReason

P = ParamSpec("P")
Settings = TypeVar("Settings")
Result = TypeVar("Result")
Model = TypeVar("Model", bound="LanguageModel")


@dataclass(frozen=True)
class GeneratedText:
    """One sample: its text, and what it takes to make it again.

    `token_ids` may go beyond the text, which ends before a stop text. `logprobs` has the fields of the OpenAI
    completions API, in nats; None if they were not asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    seed: int
    sample: int
    prompt_tokens: int
    prompt_truncated: bool
    logprobs: dict[str, Any] | None = None


def _takes(
    settings: Callable[P, Settings],
) -> Callable[
    [Callable[[Model, str | None, Settings], Result]], Callable[Concatenate[Model, str | None, P], Result]
]:
    """Have a method take the fields of a settings class as keywords, with their types and defaults."""

    def decorate(
        method: Callable[[Model, str | None, Settings], Result],
    ) -> Callable[Concatenate[Model, str | None, P], Result]:
        @wraps(method)
        def call(self: Model, text: str | None, /, *none: P.args, **values: P.kwargs) -> Result:
            return method(self, text, settings(*none, **values))

        positional = list(inspect.signature(method).parameters.values())[:2]
        keywords = inspect.signature(settings).parameters.values()
        call.__signature__ = inspect.Signature([*positional, *keywords])  # type: ignore[attr-defined]
        return call

    return decorate


@dataclass(frozen=True, repr=False)
class LanguageModel(LoadedModel):
    """A model with its tokenizer, ready to compute; for one thread at a time."""

    @_takes(CompletionSettings)
    def generate(self, prompt: str | None, settings: CompletionSettings) -> GeneratedText:
        """Continue a prompt and return the text; None begins from the BOS token.

        Raises:
            UsageError: a setting is out of its range, or the prompt does not fit the context.
            InputError: the prompt is not Unicode.
        """
        run = self.continuation(prompt, settings)
        (batch,) = run.batches()
        for _ in batch:
            pass
        return _generated(run, 0, batch.completions[0])

    @_takes(CompletionSettings)
    def stream(self, prompt: str | None, settings: CompletionSettings) -> Iterator[str]:
        """Continue a prompt and yield the text piece by piece, as soon as it is certain.

        Raises:
            UsageError, InputError: as `generate` does.
        """
        run = self.continuation(prompt, settings)
        return (piece.text for batch in run.batches() for piece in batch if piece.text)

    @_takes(SampleSettings)
    def samples(self, prompt: str | None, settings: SampleSettings) -> list[GeneratedText]:
        """Continue a prompt `count` times, at most `batch_size` of them at once.

        A sample depends on the seed and on its own number, not on how many are made.

        Raises:
            UsageError, InputError: as `generate` does.
        """
        run = self.continuation(prompt, settings, settings.count, settings.batch_size)
        found: list[GeneratedText] = []
        for batch in run.batches():
            for _ in batch:
                pass
            found += [_generated(run, *entry) for entry in batch.completions.items()]
        return found

    def continuation(
        self, prompt: str | None, settings: CompletionSettings, count: int = 1, batch_size: int = 8
    ) -> Continuation:
        """Return a continuation that yields the samples batch by batch, with all that is known of each.

        Raises:
            UsageError, InputError: as `generate` does.
        """
        from gpt2cli.generation.continuation import Continuation

        return Continuation(self, prompt, settings, count, batch_size)


def load(
    name: str | None = None,
    *,
    device: str = "auto",
    backend: str = "auto",
    dtype: str = "auto",
    quantize: str = "none",
    threads: int | None = None,
    offline: bool = False,
    reporter: Reporter | None = None,
) -> LanguageModel:
    """Load a model, downloaded first if it is missing.

    A name is a known name or alias (gpt2, 355M, distilgpt2, stories), OWNER/NAME[@REVISION] on the Hub, a
    folder or a .safetensors file; None means GPT-2 if it is here, else the bundled model. `device` is auto,
    cpu, cuda, cuda:N or mps; `dtype` auto, float32, float16 or bfloat16; `quantize` none or int8.

    Raises:
        UsageError: a choice is unknown, or two contradict each other.
        HubError: there is no such model, or it cannot be fetched.
        CheckpointError: its files are damaged or of another architecture.
        Error: the device is not usable here.
    """
    compute = Compute(device, backend, dtype, quantize, threads)
    return load_with(name, compute, offline=offline, reporter=reporter)


def load_with(
    name: str | None,
    compute: Compute,
    *,
    offline: bool = False,
    reporter: Reporter | None = None,
    for_decoding: bool = True,
) -> LanguageModel:
    """Load a model as `load` does; without decoding in view, it is not prepared for that.

    Raises:
        UsageError, HubError, CheckpointError, Error: as `load` does.
    """
    loaded = loading.load(name, compute, offline=offline, reporter=reporter, for_decoding=for_decoding)
    return LanguageModel(**vars(loaded))


def _generated(run: Continuation, sample: int, completion: Completion) -> GeneratedText:
    from gpt2cli.generation.completion import logprobs_table

    assert completion.finish_reason is not None
    tokens = completion.tokens
    wanted = run.settings.logprobs is not None
    return GeneratedText(
        text=completion.text,
        token_ids=tuple(token.id for token in tokens),
        finish_reason=completion.finish_reason,
        seed=run.seed,
        sample=sample,
        prompt_tokens=len(run.prompt.ids),
        prompt_truncated=run.prompt.truncated,
        logprobs=logprobs_table(tokens, run.loaded.tokenizer) if wanted else None,
    )
