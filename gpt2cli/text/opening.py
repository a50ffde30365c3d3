"""Open a tokenizer by the name of its model."""

from __future__ import annotations

from gpt2cli.hub.known_models import shares_merges
from gpt2cli.hub.model_files import fetch_model
from gpt2cli.hub.reporter import Reporter
from gpt2cli.text.loading import bundled_tokenizer, load_tokenizer
from gpt2cli.text.tokenizer import Tokenizer


def open_tokenizer(name: str | None, *, offline: bool = False, reporter: Reporter | None = None) -> Tokenizer:
    """Return the tokenizer of a model, downloading it if it is missing; None means GPT-2's.

    Raises:
        HubError: the model does not exist or cannot be fetched.
        CheckpointError: its files are damaged or have another architecture.
    """
    if name is None or shares_merges(name.partition("@")[0]):
        return bundled_tokenizer()
    files = fetch_model(name, offline=offline, reporter=reporter)
    return load_tokenizer(files, files.read_config())
