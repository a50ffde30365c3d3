"""Loading a model: finding or downloading its files, and opening its weights and tokenizer."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpt2cli.hub.known_models import BUNDLED_MODEL
from gpt2cli.hub.model_files import ModelFiles, fetch_model, find_model
from gpt2cli.hub.reporter import Reporter
from gpt2cli.ops.compute import Compute

if TYPE_CHECKING:
    from gpt2cli.model.model import Model
    from gpt2cli.text.tokenizer import Tokenizer

DEFAULT_MODEL = "gpt2"


@dataclass(frozen=True, eq=False, repr=False)
class LoadedModel:
    """A model, its tokenizer and its files; `seconds` is the time taken to open them."""

    files: ModelFiles
    tokenizer: Tokenizer
    model: Model[Any]
    seconds: float

    def __repr__(self) -> str:
        ops = self.model.ops
        return f"{type(self).__name__}({self.files.name!r}, {ops.name}, {ops.device_name}, {ops.dtype_name})"


def load(
    name: str | None,
    compute: Compute,
    *,
    offline: bool = False,
    reporter: Reporter | None = None,
    for_decoding: bool = False,
) -> LoadedModel:
    """Load a model, downloading it first if necessary.

    If `name` is None, load GPT-2 if it is downloaded, else the bundled model. For decoding, which reads all
    weights for each token, the head gets a screen if the backend supports it, and an automatic dtype may have
    16 bits.

    Raises:
        UsageError, Error: as `open_backend` does.
        HubError: the model does not exist or cannot be downloaded.
        CheckpointError: the files are damaged or of another architecture.
    """
    reporter = reporter or Reporter()
    ops = compute.open(for_decoding=for_decoding)
    if ops.unused_gpu:
        reporter.note(ops.unused_gpu)
    reporter.finish("backend")
    files = fetch_files(name, offline=offline, reporter=reporter)
    reporter.finish("files")
    from gpt2cli.model.model import load_model
    from gpt2cli.text.loading import load_tokenizer

    start = time.perf_counter()
    with reporter.working(f"Loading {files.name}"):
        model = load_model(files, ops, screened=for_decoding, reporter=reporter)
        reporter.finish("weights")
        tokenizer = load_tokenizer(files, model.config)
        reporter.finish("tokenizer")
    for note in tokenizer.notes:
        reporter.note(note)
    return LoadedModel(files, tokenizer, model, time.perf_counter() - start)


def fetch_files(name: str | None, *, offline: bool, reporter: Reporter) -> ModelFiles:
    """Return the files of a model, downloading them if they are missing; None means as in `load`.

    Raises:
        HubError: the model does not exist or cannot be downloaded.
    """
    return fetch_model(name or _default_name(reporter), offline=offline, reporter=reporter)


def _default_name(reporter: Reporter) -> str:
    if find_model(DEFAULT_MODEL):
        return DEFAULT_MODEL
    reporter.note("Using the bundled model stories; `gpt2 download gpt2` fetches GPT-2 (548 MB).")
    return BUNDLED_MODEL
