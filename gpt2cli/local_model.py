"""A model of this machine that continues, scores and predicts, as a server's does for its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpt2cli.model import loading
from gpt2cli.model.loading import LoadedModel

if TYPE_CHECKING:
    from gpt2cli.generation.continuation import Continuation
    from gpt2cli.generation.model_defaults import ModelDefaults
    from gpt2cli.generation.settings import CompletionSettings
    from gpt2cli.hub.reporter import Reporter
    from gpt2cli.ops.compute import Compute
    from gpt2cli.scoring.continuations import Continuations
    from gpt2cli.scoring.settings import NextSettings, ScoringSettings
    from gpt2cli.scoring.text_scorer import Scoring


class LocalModel(LoadedModel):
    """A loaded model, to be used by one thread at a time."""

    @property
    def model_defaults(self) -> ModelDefaults | None:
        """What the model's generation_config.json recommends, and how it spells that; None without one."""
        if self.files.generation is None:
            return None
        from gpt2cli.generation.model_defaults import ModelDefaults

        return ModelDefaults(self.files.generation)

    def continuation(
        self,
        prompt: str | None,
        settings: CompletionSettings,
        num_samples: int = 1,
        batch_size: int = 8,
        kv_memory: int | None = None,
    ) -> Continuation:
        """Return a continuation that yields the samples batch by batch, with all details of each.

        Raises:
            UsageError: a setting is out of range, or the prompt does not fit the context.
            InputError: the prompt is not Unicode.
        """
        from gpt2cli.generation.continuation import Continuation

        return Continuation(self, prompt, settings, num_samples, batch_size, kv_memory)

    def scoring(self, settings: ScoringSettings) -> Scoring:
        """Return what scores texts, any number of them, as the settings ask.

        Raises:
            UsageError: a setting is out of range or does not fit the model.
        """
        from gpt2cli.scoring.text_scorer import open_scoring

        return open_scoring(self, settings)

    def continuations(self, text: str, settings: NextSettings) -> Continuations:
        """Return a text that has been read, and what may follow it, with all details.

        Raises:
            UsageError: a setting is out of range, or the text does not fit the context.
            InputError: the text is not Unicode.
        """
        from gpt2cli.scoring.continuations import Continuations

        return Continuations(self, text, settings)


def load_local(
    name: str | None,
    compute: Compute,
    *,
    offline: bool = False,
    reporter: Reporter | None = None,
    for_decoding: bool = True,
) -> LocalModel:
    """Load a model; it is not prepared for decoding if `for_decoding` is false.

    Raises:
        UsageError, HubError, CheckpointError, Error: as `gpt2cli.load` does.
    """
    loaded = loading.load(name, compute, offline=offline, reporter=reporter, for_decoding=for_decoding)
    return LocalModel(**vars(loaded))
