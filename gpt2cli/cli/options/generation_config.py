"""The option that takes the settings of a model's generation_config.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from gpt2cli.cli.options.sampling import SAMPLING, CompletionOptions
from gpt2cli.cli.options.shared import flag
from gpt2cli.cli.output.messages import Messages
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.hub.model_files import ModelFiles


@dataclass(frozen=True, eq=False, repr=False)
class ModelDefaultsOptions:
    """Whether the model's own defaults count."""

    generation_config: Annotated[
        bool,
        flag(
            "--generation-config",
            rich_help_panel=SAMPLING,
            help="Use the defaults in generation_config.json.",
        ),
    ] = False

    def complete(
        self, completion: CompletionOptions, files: ModelFiles, context: typer.Context, messages: Messages
    ) -> CompletionOptions:
        """Return the options with the model's defaults, if asked for; options on the command line win.

        Raises:
            UsageError: the model has none.
            CheckpointError: the file with them is damaged.
        """
        if files.generation is None:
            if self.generation_config:
                raise UsageError(
                    f"{files.name} has no generation_config.json.", "Leave out --generation-config."
                )
            return completion
        from gpt2cli.generation.model_defaults import ModelDefaults

        defaults = ModelDefaults(files.generation)
        chosen = {name for name in context.params if _is_given(context, name)}
        if self.generation_config:
            if unknown := defaults.unknown():
                messages.note(
                    f"note: generation_config.json also sets {', '.join(unknown)}, which has no option here"
                )
            return defaults.apply(completion, chosen)
        if changes := defaults.changes(completion, chosen):
            messages.note(
                f"note: generation_config.json sets {', '.join(changes)}; --generation-config applies that"
            )
        return completion


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
