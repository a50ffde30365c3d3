"""Settings that decide what a benchmark measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpt2cli.benchmark.measurements import MEASURES
from gpt2cli.errors import UsageError
from gpt2cli.ops.compute import Compute
from gpt2cli.ops.threads import available_cores, threads_from_environment

LLAMA_CPP = "llama.cpp"
# Each is set up in `peers.catalog`; `processes` is this package, with a process for each prompt.
PROCESSES = "processes"
PEER_NAMES = ("transformers", "ctranslate2", "ctranslate2-int8", LLAMA_CPP, "tiktoken", PROCESSES)


@dataclass(frozen=True)
class SpeedSettings:
    """What to measure of a model's speed, how often, and in which other engines.

    `prompt_tokens`, `tokens` and `batch` are the tokens to prefill, the tokens to decode and the samples to
    decode at once; `prompts` is how many prompts to continue, and `clients` how many ask a server at once.
    `only` names measures; None means the usual ones.
    `against` names other engines. `gguf` are the files that llama.cpp runs; none means those in the model's
    folder.
    """

    prompt_tokens: int = 512
    tokens: int = 128
    batch: int = 8
    prompts: int = 64
    clients: int = 64
    rounds: int = 3
    only: Sequence[str] | None = None
    against: Sequence[str] | None = None
    gguf: Sequence[Path] = ()

    @property
    def measures(self) -> Sequence[str]:
        """The names of the measures to take."""
        if self.only is None:
            return [name for name, measure in MEASURES.items() if measure.usual]
        return self.only

    @property
    def peers(self) -> Sequence[str]:
        """The names of the other engines, each once."""
        return list(dict.fromkeys(self.against or ()))

    def check(self) -> None:
        """Check the names and the files.

        Raises:
            UsageError: a measure or an engine is unknown, a GGUF file is missing, or no engine runs it.
        """
        for name in self.measures:
            if name not in MEASURES:
                raise UsageError(f"{name!r} is not a measure.", f"Known are {', '.join(MEASURES)}.")
        for name in self.peers:
            if name not in PEER_NAMES:
                raise UsageError(f"{name!r} is not an engine.", f"Known are {', '.join(PEER_NAMES)}.")
        if self.gguf and LLAMA_CPP not in self.peers:
            raise UsageError(f"`gguf` needs `against` {LLAMA_CPP}.")
        for file in self.gguf:
            if not file.is_file():
                raise UsageError(f"{file} is not a file.")


def with_threads(compute: Compute) -> Compute:
    """Return the same choices with a number of threads: that of the environment, else one per core."""
    return replace(compute, threads=compute.threads or threads_from_environment() or available_cores())
