"""The options of `gpt2 generate` completed by a model's generation_config.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gpt2cli.cli.options.sampling import CompletionOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.generation.model_defaults import ModelDefaults


def complete(
    completion: CompletionOptions,
    wanted: bool,
    name: str,
    defaults: ModelDefaults | None,
    context: typer.Context,
    messages: Messages,
) -> CompletionOptions:
    """Return the options with the model's defaults if these are wanted, else note which there are.

    What the command line gives holds in any case.

    Raises:
        UsageError: the model has no defaults.
        CheckpointError: the file with them is damaged.
    """
    if defaults is None:
        if not wanted:
            return completion
        raise UsageError(f"{name} has no generation_config.json.", "Leave out --generation-config.")
    chosen = {name for name in context.params if is_given(context, name)}
    if not wanted:
        if changes := defaults.changes(completion, chosen):
            messages.note(
                f"note: generation_config.json sets {', '.join(changes)}; --generation-config applies that"
            )
        return completion
    if unknown := defaults.unknown():
        messages.note(
            f"note: generation_config.json also sets {', '.join(unknown)}, which has no option here"
        )
    return defaults.apply(completion, chosen)


def is_given(context: typer.Context, name: str) -> bool:
    """Return whether an option is given, be it as its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
