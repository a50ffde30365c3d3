"""A model that a server has, in place of one that is loaded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt2cli.errors import UsageError
from gpt2cli.ops.compute import Compute
from gpt2cli.serving.remote.connection import NO_SERVER, ServerConnection

if TYPE_CHECKING:
    from gpt2cli.generation.model_defaults import ModelDefaults
    from gpt2cli.generation.settings import CompletionSettings
    from gpt2cli.scoring.settings import NextSettings, ScoringSettings
    from gpt2cli.scoring.text_scorer import Scoring
    from gpt2cli.serving.remote.candidates import RemoteContinuations
    from gpt2cli.serving.remote.continuation import RemoteContinuation


class RemoteFiles(NamedTuple):
    """What is known of a model's files."""

    name: str
    revision: str | None
    generation: Path | None


class RemoteOps(NamedTuple):
    """How the server computes."""

    name: str
    device_name: str
    dtype_name: str


@dataclass(frozen=True)
class Computed:
    """What of a model is known here."""

    ops: RemoteOps


class RemoteTokenizer:
    """What notes on a text must know of a tokenizer."""

    def __init__(
        self, connection: ServerConnection, special_tokens: tuple[str, ...], spells_all: bool
    ) -> None:
        self.special_tokens = special_tokens
        self._connection = connection
        self._spells_all = spells_all

    def first_unknown(self, text: str, special: bool = False) -> str | None:
        """Return the first part of a text that the vocabulary can only call unknown, or None."""
        if self._spells_all:
            return None
        unknown: str | None = self._connection.one("unknown", {"text": text, "special": special})["unknown"]
        return unknown


class RemoteModel:
    """The model of a server, with the methods of `LocalModel`.

    Raises:
        UsageError: it is another model than `name`, or `compute` chooses what the server has chosen.
        Error: the server cannot be reached.
    """

    def __init__(self, url: str, api_key: str | None, name: str | None, compute: Compute) -> None:
        for choice in fields(Compute):
            if getattr(compute, choice.name) != choice.default:
                raise _chosen_by_server(choice.name)
        self.connection = ServerConnection(url, api_key)
        facts = self.connection.one("model", {"name": name})
        try:
            generation = facts["generation_config"]
            self.files = RemoteFiles(facts["name"], facts["revision"], generation and Path(generation))
            self.model = Computed(RemoteOps(facts["backend"], facts["device"], facts["dtype"]))
            special_tokens = tuple(facts["special_tokens"])
            self.tokenizer = RemoteTokenizer(self.connection, special_tokens, facts["spells_all"])
            self.seconds: float = facts["load_seconds"]
            self._generation_values: dict[str, Any] = facts["generation_values"]
        except (KeyError, TypeError) as error:
            raise self.connection.failed(NO_SERVER) from error

    @property
    def model_defaults(self) -> ModelDefaults | None:
        """What the model's generation_config.json recommends, and how it spells that; None without one."""
        if self.files.generation is None:
            return None
        from gpt2cli.generation.model_defaults import ModelDefaults

        return ModelDefaults(self.files.generation, self._generation_values)

    def continuation(
        self,
        prompt: str | None,
        settings: CompletionSettings,
        num_samples: int = 1,
        batch_size: int = 8,
        kv_memory: int | None = None,
    ) -> RemoteContinuation:
        """Return a continuation that yields the samples batch by batch, with all details of each.

        Raises:
            UsageError, InputError: as that of a loaded model does.
            Error: the server failed.
        """
        from gpt2cli.serving.remote.continuation import RemoteContinuation

        if kv_memory is not None:
            raise _chosen_by_server("kv_memory")
        return RemoteContinuation(self, prompt, settings, num_samples, batch_size)

    def scoring(self, settings: ScoringSettings) -> Scoring:
        """Return what has texts scored, any number of them, as the settings ask.

        Raises:
            UsageError: a setting does not fit the model.
            Error: the server failed.
        """
        from gpt2cli.serving.remote.scoring import remote_scoring

        return remote_scoring(self.connection, settings)

    def continuations(self, text: str, settings: NextSettings) -> RemoteContinuations:
        """Return what may follow a text, with all details.

        Raises:
            UsageError, InputError: as that of a loaded model does.
            Error: the server failed.
        """
        from gpt2cli.serving.remote.candidates import RemoteContinuations

        return RemoteContinuations(self.connection, text, settings)


def _chosen_by_server(name: str) -> UsageError:
    return UsageError(f"`{name}` is the choice of the server.", "Leave it out, or unset GPT2_SERVER.")
