"""A model made ready for a command: found or downloaded, tokenizer and weights opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpt2cli.cli.commands.download import fetch_with_progress
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.stopwatch import Stopwatch
from gpt2cli.hub.known_models import BUNDLED_MODEL
from gpt2cli.hub.model_files import ModelFiles, find_model

if TYPE_CHECKING:
    from gpt2cli.model.model import Model
    from gpt2cli.ops.operations import Ops
    from gpt2cli.text.tokenizer import Tokenizer

DEFAULT_MODEL = "gpt2"


@dataclass(frozen=True)
class LoadedModel:
    """Hold what a command needs of a model, and the seconds it took to load."""

    files: ModelFiles
    tokenizer: Tokenizer
    model: Model[Any]
    seconds: float

    @property
    def files_size(self) -> int:
        """Return the bytes of the files of weights."""
        return sum(path.stat().st_size for path in self.files.weights)


def load_for_command(
    name: str | None,
    ops: Ops[Any],
    offline: bool,
    messages: Messages,
    watch: Stopwatch | None = None,
    screened: bool = False,
) -> LoadedModel:
    """Find a model, download it if it is missing, load it as `load_model` does, and tell the watch of each.

    Raises:
        HubError: there is no such model, or it cannot be fetched.
        CheckpointError: its files are damaged or of another architecture.
    """
    watch = watch or Stopwatch()
    if ops.unused_gpu:
        messages.note(ops.unused_gpu)
    files = fetch_with_progress(name or _default_name(messages), messages, offline=offline)
    watch.lap("files")
    from gpt2cli.model.model import load_model
    from gpt2cli.text.tokenizer import load_tokenizer

    with messages.spinner(f"Loading {files.name}"):
        model = load_model(files, ops, screened)
        seconds = watch.lap("weights")
        tokenizer = load_tokenizer(files, model.config)
        seconds += watch.lap("tokenizer")
    if model.not_kept:
        messages.note(f"The converted weights could not be kept: {model.not_kept}.")
    return LoadedModel(files, tokenizer, model, seconds)


def _default_name(messages: Messages) -> str:
    if find_model(DEFAULT_MODEL):
        return DEFAULT_MODEL
    messages.note("Using the bundled model stories; `gpt2 download gpt2` fetches GPT-2 (548 MB).")
    return BUNDLED_MODEL
