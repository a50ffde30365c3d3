"""Random models of each family with a tokenizer, each saved once in a process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from checkpoints import save_tokenizer
from families import save_family

from gpt2cli.language_model import LanguageModel, load

VOCABULARY = 320
# Removed when the process ends.
FOLDERS = TemporaryDirectory(prefix="gpt2-inspected-")


@dataclass(frozen=True, eq=False)
class Saved:
    """A model's folder, and the model as transformers has it."""

    folder: Path
    reference: Any

    def load(self, backend: tuple[str, str] = ("numpy", "cpu")) -> LanguageModel:
        """Return the model on a backend and device."""
        return _loaded(self.folder, *backend)

    def outputs(self, ids: list[int], **asked: bool) -> Any:
        """Return what transformers computes for ids."""
        with torch.no_grad():
            return self.reference(torch.tensor([ids]), **asked)


@cache
def saved(family: str, seed: int = 0) -> Saved:
    """Save a random model of a family."""
    folder = Path(FOLDERS.name) / f"{family}-{seed}"
    reference = save_family(folder, family, seed, vocab_size=VOCABULARY)
    save_tokenizer(folder, VOCABULARY)
    return Saved(folder, reference)


@cache
def _loaded(folder: Path, backend: str, device: str) -> LanguageModel:
    return load(str(folder), backend=backend, device=device, threads=1)
