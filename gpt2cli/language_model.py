"""The language model for Python programs: generate, stream, score, predict the next token."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from gpt2cli.errors import UsageError
from gpt2cli.generation.settings import CompletionSettings, SampleSettings
from gpt2cli.hub.reporter import Reporter
from gpt2cli.local_model import LocalModel, load_local
from gpt2cli.ops.compute import Compute
from gpt2cli.scoring.settings import NextSettings, ScoringSettings

if TYPE_CHECKING:
    from gpt2cli.generation.samples.generated_text import GeneratedText
    from gpt2cli.inspection.attention import Attention
    from gpt2cli.inspection.lens import LensRow
    from gpt2cli.scoring.report import Row
    from gpt2cli.scoring.rows import NextText
    from gpt2cli.scoring.settings import Unit

P = ParamSpec("P")
Settings = TypeVar("Settings")
Text = TypeVar("Text")
Result = TypeVar("Result")
Model = TypeVar("Model", bound="LanguageModel")


def _takes(
    settings: Callable[P, Settings],
) -> Callable[[Callable[[Model, Text, Settings], Result]], Callable[Concatenate[Model, Text, P], Result]]:
    """Make a method take the fields of a settings class as keywords, with their types and defaults."""

    def decorate(
        method: Callable[[Model, Text, Settings], Result],
    ) -> Callable[Concatenate[Model, Text, P], Result]:
        @wraps(method)
        def call(self: Model, text: Text, /, *none: P.args, **values: P.kwargs) -> Result:
            return method(self, text, settings(*none, **values))

        positional = list(inspect.signature(method).parameters.values())[:2]
        keywords = inspect.signature(settings).parameters.values()
        call.__signature__ = inspect.Signature([*positional, *keywords])  # type: ignore[attr-defined]
        return call

    return decorate


class LanguageModel(LocalModel):
    """A loaded model with its tokenizer, to be used by one thread at a time."""

    @_takes(CompletionSettings)
    def generate(self, prompt: str | None, settings: CompletionSettings) -> GeneratedText:
        """Continue a prompt and return the text; None starts from the BOS token.

        Raises:
            UsageError: a setting is out of range, or the prompt does not fit the context.
            InputError: the prompt is not Unicode.
        """
        return self.continuation(prompt, settings).results()[0]

    @_takes(CompletionSettings)
    def stream(self, prompt: str | None, settings: CompletionSettings) -> Iterator[str]:
        """Continue a prompt and yield each piece of the text as soon as it is final.

        Raises:
            UsageError, InputError: as `generate` does; UsageError also for `best_of`, which is known last.
        """
        if settings.best_of:
            raise UsageError("`best_of` cannot be streamed.", "Use generate or samples.")
        run = self.continuation(prompt, settings)
        return (piece.text for batch in run.batches() for piece in batch if piece.text)

    @_takes(SampleSettings)
    def samples(self, prompt: str | None, settings: SampleSettings) -> list[GeneratedText]:
        """Continue a prompt `num_samples` times, at most `batch_size` of them at once.

        A sample depends on the seed and its number, not on how many samples are made. With `best_of`, they
        are the likeliest, the best first.

        Raises:
            UsageError, InputError: as `generate` does.
        """
        rows, memory = settings.batch_size, settings.kv_memory
        return self.continuation(prompt, settings, settings.num_samples, rows, memory).results()

    @property
    def generation_defaults(self) -> dict[str, Any]:
        """Return what the model's generation_config.json recommends, as keywords for `generate`.

        Raises:
            CheckpointError: the file is damaged, or a value in it is out of its range.
        """
        return self.model_defaults.keywords() if self.model_defaults else {}

    @_takes(ScoringSettings)
    def score(self, text: str, settings: ScoringSettings) -> list[Row]:
        """Score a text and return a row for each token, word or line, or one for the document.

        Rows are dataclasses with the text, its place and its surprisal, so that pandas.DataFrame(rows) is a
        table.

        Raises:
            UsageError: a setting is out of range or does not fit the model.
            InputError: the text is not Unicode.
        """
        from gpt2cli.scoring.report import score_rows

        return score_rows(self, text, settings)

    def lens(
        self,
        text: str,
        *,
        layers: Sequence[int] | None = None,
        positions: Sequence[int] | None = None,
        top: int = 1,
        unit: Unit = "bits",
        bos: bool = True,
        special: bool = False,
    ) -> list[LensRow]:
        """Return what each layer would predict at each position, and how it judges the token that came.

        The keywords are those of `LensSettings`: layer 0 is the embedding, and the position after the last
        token is that of what follows.

        Raises:
            UsageError: a setting is out of range, or the text does not fit the context.
            InputError: the text is not Unicode.
        """
        from gpt2cli.inspection.lens import Lens
        from gpt2cli.inspection.settings import LensSettings

        settings = LensSettings(
            layers=layers, positions=positions, top=top, unit=unit, bos=bos, special=special
        )
        return list(Lens(self, text, settings).rows())

    def attention(self, text: str, *, bos: bool = True, special: bool = False) -> Attention:
        """Return where the heads look in a text: `heads` has a row of means for each.

        Raises:
            UsageError: the text does not fit the context.
            InputError: the text is not Unicode.
        """
        from gpt2cli.inspection.attention import Attention
        from gpt2cli.inspection.settings import PassageSettings

        return Attention(self, text, PassageSettings(bos=bos, special=special))

    @_takes(NextSettings)
    def next(self, text: str, settings: NextSettings) -> list[NextText]:
        """Return the most likely next tokens, or all candidates, with probabilities, most likely first.

        Raises:
            UsageError: a setting is out of range, or the text does not fit the context.
            InputError: the text is not Unicode.
        """
        from gpt2cli.scoring.continuations import next_tokens

        return next_tokens(self, text, settings)

    def compress(self, data: bytes) -> bytes:
        """Return bytes compressed with the model's predictions.

        Raises:
            Error: the model is not on compiled kernels, whose logits alone are the same in `decompress`.
        """
        from gpt2cli.inspection.compression.container import compress

        return b"".join(compress(self, [data]))

    def decompress(self, data: bytes) -> bytes:
        """Return what `compress` compressed.

        Raises:
            InputError: the bytes are damaged, or another model or arithmetic compressed them.
            Error: the model is not on compiled kernels.
        """
        from gpt2cli.inspection.compression.container import decompress

        return b"".join(decompress(self, [data], "The text"))


def load(
    name: str | None = None,
    *,
    device: str = "auto",
    backend: str = "auto",
    dtype: str = "auto",
    quantize: str = "none",
    threads: int | None = None,
    compiled: bool = False,
    offline: bool = False,
    reporter: Reporter | None = None,
) -> LanguageModel:
    """Load a model, downloading it if it is missing.

    `name` is a known name or alias (gpt2, 355M, distilgpt2, stories), OWNER/NAME[@REVISION] on the Hub, a
    folder, a .safetensors or a .gguf file; None means GPT-2 if it is on this machine, else the bundled model.
    `device` is auto, cpu, cuda, cuda:N or mps; `dtype` is auto, float32, float16 or bfloat16, and auto is
    bfloat16 on a GPU that computes in it, else float32; `quantize` is none or int8. With
    `compiled`, PyTorch compiles what makes tokens.

    Raises:
        UsageError: a setting is unknown, or two contradict each other.
        HubError: the model does not exist or cannot be fetched.
        CheckpointError: its files are damaged or have another architecture.
        Error: the device cannot be used on this machine.
    """
    compute = Compute(device, backend, dtype, quantize, threads, compiled)
    return LanguageModel(**vars(load_local(name, compute, offline=offline, reporter=reporter)))
