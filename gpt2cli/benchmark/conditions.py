"""The conditions that all engines of a benchmark share."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt2cli.benchmark.many.programs import Programs
from gpt2cli.benchmark.workload import Workload
from gpt2cli.hub.model_files import ModelFiles
from gpt2cli.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Conditions:
    """The model, the work, and the device, type and threads to compute with.

    `prompts` is the file of many prompts, and `programs` are this package's command lines.

    `model` is the name under which the files are found, revision included. `environment` is that of the
    engines' processes. With `threads` None, each engine chooses for itself.
    """

    model: str
    files: ModelFiles
    tokenizer: Tokenizer
    workload: Workload
    prompts: Path
    programs: Programs
    measures: Collection[str]
    device: str
    dtype: str
    threads: int | None
    environment: Mapping[str, str]
    gguf_files: Sequence[Path]
