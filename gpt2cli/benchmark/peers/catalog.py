"""The other engines that can run GPT-2, and how each is set up on the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpt2cli.benchmark.conditions import Conditions
from gpt2cli.benchmark.engines import Command, Engine, steps_of, whole_commands, worker_command
from gpt2cli.benchmark.many.prompts import KINDS
from gpt2cli.benchmark.measurements import WHOLE, Step
from gpt2cli.benchmark.peers.llama_cpp import llama_cpp_engines
from gpt2cli.benchmark.peers.shared_checkpoint import share_checkpoint
from gpt2cli.benchmark.settings import LLAMA_CPP, PROCESSES
from gpt2cli.benchmark.timed_process import run_timed
from gpt2cli.benchmark.workload import PROMPT
from gpt2cli.errors import Error
from gpt2cli.hub.checkpoint_files import GGUF
from gpt2cli.ops.backend import DTYPES
from gpt2cli.ops.torch_extra import TORCH_EXTRA

INSIDE = ("decode", "prefill", "batch")


def find_peers(
    names: Sequence[str], conditions: Conditions, folder: Path
) -> tuple[list[Engine], dict[str, str]]:
    """Return the engines that can run here, and what each of the others lacks.

    The folder must be empty. It receives the engines' files and must last as long as they run.
    """
    checkpoint = folder / "checkpoint"
    share_checkpoint(conditions.files, conditions.tokenizer, checkpoint)
    found = {name: _find_peer(name, conditions, checkpoint) for name in names}
    engines = [engine for peers in found.values() if not isinstance(peers, str) for engine in peers]
    return engines, {name: reason for name, reason in found.items() if isinstance(reason, str)}


def _find_peer(name: str, conditions: Conditions, checkpoint: Path) -> list[Engine] | str:
    try:
        return PEERS[name](conditions, checkpoint)
    except Error as error:
        return str(error)


def _transformers(conditions: Conditions, checkpoint: Path) -> list[Engine]:
    _require_packages("transformers", "torch")
    # It has no narrower types, such as int8.
    dtype = conditions.dtype if conditions.dtype in DTYPES else "float32"
    task = {**_task(conditions, checkpoint), "dtype": dtype, "device": conditions.device}
    steps = _worker_steps("transformers_worker", task, conditions, (*INSIDE, "score", *WHOLE))
    return [Engine("transformers", metadata.version("transformers"), dtype, steps)]


def _ctranslate2(name: str, precision: str, conditions: Conditions, checkpoint: Path) -> list[Engine]:
    _require_packages("ctranslate2", "transformers", "torch")
    _require_cpu(conditions)
    folder = str(checkpoint.with_name(name))
    conversion = {"checkpoint": str(checkpoint), "folder": folder, "precision": precision}
    run_timed(worker_command("peers.ctranslate2_worker", {"convert": conversion}), conditions.environment)
    task = {**_task(conditions, checkpoint), "folder": folder, "precision": precision}
    steps = _worker_steps("ctranslate2_worker", task, conditions, (*INSIDE, *KINDS, *WHOLE))
    return [Engine(name, metadata.version("ctranslate2"), precision, steps)]


def _llama_cpp(conditions: Conditions, _: Path) -> list[Engine]:
    _require_cpu(conditions)
    folder = conditions.files.folder
    own = [path for path in conditions.files.weights if path.suffix == GGUF]
    files = conditions.gguf_files or own or sorted(folder.glob(f"*{GGUF}"))
    if not files:
        raise Error(f"there is no {GGUF} file in {folder}.", "Convert the model, or use `gguf` FILE.")
    return llama_cpp_engines(files, conditions)


def _tiktoken(conditions: Conditions, _: Path) -> list[Engine]:
    _require_packages("tiktoken")
    task = {"model": conditions.model}
    steps = _worker_steps("tiktoken_worker", task, conditions, ("tokenize",))
    return [Engine("tiktoken", metadata.version("tiktoken"), "bytes", steps)]


def _processes(conditions: Conditions, _: Path) -> list[Engine]:
    workload = conditions.workload
    task = {
        "prompts": str(conditions.prompts),
        "tokens": workload.new_tokens,
        "complete": conditions.programs.complete(workload.new_tokens),
    }
    steps = _worker_steps("processes_worker", task, conditions, ("prompts",))
    return [Engine(PROCESSES, None, conditions.dtype, steps)]


PEERS: Mapping[str, Callable[[Conditions, Path], list[Engine]]] = {
    "transformers": _transformers,
    "ctranslate2": partial(_ctranslate2, "ctranslate2", "float32"),
    "ctranslate2-int8": partial(_ctranslate2, "ctranslate2-int8", "int8"),
    LLAMA_CPP: _llama_cpp,
    "tiktoken": _tiktoken,
    PROCESSES: _processes,
}


def _task(conditions: Conditions, checkpoint: Path) -> dict[str, Any]:
    return {
        "checkpoint": str(checkpoint),
        "prompt": PROMPT,
        "workload": asdict(conditions.workload),
        "prompts": str(conditions.prompts),
        "threads": conditions.threads,
    }


def _worker_steps(
    module: str, task: Mapping[str, Any], conditions: Conditions, known: Sequence[str]
) -> dict[Step, Sequence[str]]:
    def generate(tokens: int) -> list[str]:
        return worker_command(f"peers.{module}", {**task, "generate": tokens})

    def take(wanted: Sequence[str]) -> list[str]:
        return worker_command(f"peers.{module}", {**task, "measures": wanted})

    commands: dict[Step, Command] = {"inside": take, "many": take}
    commands |= whole_commands(conditions.workload, generate)
    return steps_of(conditions.measures, known, commands)


def _require_packages(*names: str) -> None:
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        wanted = " ".join(TORCH_EXTRA if name == "torch" else name for name in missing)
        raise Error(f"{' and '.join(missing)} cannot be imported.", f"pip install {wanted}")


def _require_cpu(conditions: Conditions) -> None:
    if conditions.device != "cpu":
        raise Error(f"it is measured on a CPU only, and not on {conditions.device}.", "Use `device` cpu.")
