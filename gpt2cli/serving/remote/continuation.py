"""A prompt that a server continues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt2cli.generation.samples.pieces import Piece, sample_report
from gpt2cli.generation.settings import CompletionSettings

if TYPE_CHECKING:
    from gpt2cli.generation.requests import FinishReason
    from gpt2cli.generation.samples.best_of import BestOf
    from gpt2cli.generation.speculation import Drafts
    from gpt2cli.serving.remote.model import RemoteModel

UNSENT = ("batch_size", "kv_memory", "num_samples")


class RemotePrompt(NamedTuple):
    """The ids of a prompt, known by their number only; `truncated` if they were cut to fit the context."""

    ids: Sequence[int]
    truncated: bool


class RemoteToken(NamedTuple):
    """A token of a sample; `logprobs` has what else is known of it."""

    id: int


@dataclass
class RemoteCompletion:
    """The tokens and text of one sample, as `Completion` has them."""

    pieces: list[str] = field(default_factory=list)
    tokens: Sequence[RemoteToken] = ()
    finish_reason: FinishReason | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    mean_logprob: float | None = None
    logprobs: dict[str, Any] | None = None
    drafts: Drafts | None = None

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)

    def add(self, told: Mapping[str, Any]) -> str:
        """Take what a server says, and return the text that it adds."""
        text: str = told["text"]
        self.pieces.append(text)
        if reason := told.get("finish_reason"):
            self.finish_reason = reason
            self.tokens = [RemoteToken(token_id) for token_id in told["token_ids"]]
            self.usage = told["usage"]
            self.mean_logprob = told["mean_logprob"]
            self.logprobs = told["logprobs"]
            if told["drafts"]:
                # Few runs need it.
                from gpt2cli.generation.speculation import Drafts

                self.drafts = Drafts(**told["drafts"])
        return text

    def logprobs_table(self) -> dict[str, Any]:
        """Return log-probabilities with the field names of the OpenAI completions API."""
        return self.logprobs or {}


class RemoteBatch:
    """Samples made together; iterating has them made and fills their completions."""

    def __init__(self, run: RemoteContinuation, samples: range) -> None:
        self.completions = {sample: RemoteCompletion() for sample in samples}
        self._run = run
        self._samples = samples

    @property
    def drawn(self) -> Mapping[int, RemoteCompletion]:
        """All samples that were made, by number."""
        return self.completions

    def __iter__(self) -> Iterator[Piece]:
        """Yield the texts of all samples as they grow."""
        for told in self._run.ask(self._samples):
            if "sample" in told:
                text = self.completions[told["sample"]].add(told)
                yield Piece(told["sample"], text, told.get("finish_reason"))


class RemoteContinuation:
    """One or more continuations of a text, as `Continuation` has them.

    Raises:
        UsageError, InputError: as `Continuation` does.
        Error: the server failed.
    """

    def __init__(
        self,
        loaded: RemoteModel,
        prompt: str | None,
        settings: CompletionSettings,
        num_samples: int,
        batch_size: int,
    ) -> None:
        self.loaded = loaded
        self.settings = settings
        self.text = prompt
        self._num_samples = num_samples
        self._batch_size = batch_size
        self._sent = _sent(settings)
        (told,) = self.ask(range(0))
        self.prompt = RemotePrompt(range(told["prompt_tokens"]), told["truncated"])
        self.seed: int = told["seed"]
        self._sent["seed"] = self.seed

    def ask(self, samples: range) -> Iterator[dict[str, Any]]:
        """Yield what the server says of samples.

        Raises:
            UsageError, InputError, Error: as the class does.
        """
        asked = {"prompt": self.text, "settings": self._sent, "first": samples.start, "last": samples.stop}
        return self.loaded.connection.ask("generate", asked)

    def open(self) -> None:
        """Do nothing, because the server has the memory."""

    def prefill(self) -> float:
        """Return 0, because the server reads the prompt with the samples."""
        return 0.0

    def report(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what makes every sample again, with the settings that were chosen."""
        return sample_report(self, settings)

    def record(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the report with all that makes the samples again on another machine."""
        asked = {"prompt": self.text, "settings": self._sent, "record": True}
        (told,) = self.loaded.connection.ask("generate", asked)
        arithmetic = told["facts"].pop("arithmetic")
        return {**self.report({**settings, **arithmetic}), "prompt_ids": told["prompt_ids"], **told["facts"]}

    def batches(self) -> Iterator[RemoteBatch | BestOf[RemoteCompletion]]:
        """Yield the batches of samples in order; iterate each batch before taking the next."""
        if self.settings.best_of:
            # Few runs need it.
            from gpt2cli.generation.samples.best_of import BestOf

            yield BestOf(self._drawn(self.settings.best_of), self._num_samples)
        else:
            yield from self._drawn(self._num_samples)

    def _drawn(self, count: int) -> Iterator[RemoteBatch]:
        for first in range(0, count, self._batch_size):
            yield RemoteBatch(self, range(first, min(first + self._batch_size, count)))


def _sent(settings: CompletionSettings) -> dict[str, Any]:
    sent = {name: value for name, value in vars(settings).items() if name not in UNSENT}
    lists = {name: list(sent[name]) for name in ("stop", "ban")}
    biases: dict[str, float] = {}
    for text, logits in settings.text_biases:
        biases[text] = biases.get(text, 0.0) + logits
    return {**sent, **lists, "bias": biases}
