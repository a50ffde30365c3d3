"""Other engines that run GPT-2, where they are installed; each on the same weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpt2cli.benchmark.engines import Engine, steps_of, worker_command
from gpt2cli.benchmark.measurements import Step
from gpt2cli.benchmark.peers.llama_cpp import llama_cpp_engines
from gpt2cli.benchmark.timed_process import run_timed
from gpt2cli.benchmark.workload import PROMPT, Workload
from gpt2cli.errors import Error, UsageError
from gpt2cli.hub.checkpoint_files import CONFIG, WEIGHTS
from gpt2cli.hub.model_files import ModelFiles
from gpt2cli.ops.backend import DTYPES
from gpt2cli.ops.torch_extra import TORCH_EXTRA
from gpt2cli.text.tokenizer import Tokenizer

INSIDE = ("decode", "prefill", "batch")
WHOLE = ("first_token", "peak_memory")
LLAMA_CPP = "llama.cpp"


@dataclass(frozen=True)
class Contest:
    """Hold what all engines share: the model, the work, and where and in what they compute.

    `model` is the name that finds the files, which a revision may be a part of. `environment` is that of
    their processes; `threads` is None where each shall choose.
    """

    model: str
    files: ModelFiles
    tokenizer: Tokenizer
    workload: Workload
    measures: Collection[str]
    device: str
    dtype: str
    threads: int | None
    environment: Mapping[str, str]
    gguf_files: Sequence[Path]


def find_peers(names: Sequence[str], contest: Contest, folder: Path) -> tuple[list[Engine], dict[str, str]]:
    """Return the engines that can run here, and for each other name what it lacks.

    The folder, which must be empty, takes what they need; it must last as long as they run.
    """
    checkpoint = folder / "checkpoint"
    _save_checkpoint(contest, checkpoint)
    found = {name: _find_peer(name, contest, checkpoint) for name in names}
    engines = [engine for peers in found.values() if not isinstance(peers, str) for engine in peers]
    return engines, {name: reason for name, reason in found.items() if isinstance(reason, str)}


def require_known(names: Sequence[str]) -> None:
    """Check the names of engines.

    Raises:
        UsageError: a name is unknown.
    """
    for name in names:
        if name not in PEERS:
            raise UsageError(f"{name!r} is not an engine.", f"Known are {', '.join(PEERS)}.")


def _find_peer(name: str, contest: Contest, checkpoint: Path) -> list[Engine] | str:
    try:
        return PEERS[name](contest, checkpoint)
    except Error as error:
        return str(error)


def _transformers(contest: Contest, checkpoint: Path) -> list[Engine]:
    _require_packages("transformers", "torch")
    # It has no types narrower than these.
    dtype = contest.dtype if contest.dtype in DTYPES else "float32"
    task = {**_task(contest, checkpoint), "dtype": dtype, "device": contest.device}
    steps = _worker_steps("transformers_worker", task, contest, (*INSIDE, "score", *WHOLE))
    return [Engine("transformers", metadata.version("transformers"), dtype, steps)]


def _ctranslate2(name: str, precision: str, contest: Contest, checkpoint: Path) -> list[Engine]:
    _require_packages("ctranslate2", "transformers", "torch")
    _require_cpu(contest)
    folder = str(checkpoint.with_name(name))
    conversion = {"checkpoint": str(checkpoint), "folder": folder, "precision": precision}
    run_timed(worker_command("peers.ctranslate2_worker", {"convert": conversion}), contest.environment)
    task = {**_task(contest, checkpoint), "folder": folder, "precision": precision}
    steps = _worker_steps("ctranslate2_worker", task, contest, (*INSIDE, *WHOLE))
    return [Engine(name, metadata.version("ctranslate2"), precision, steps)]


def _llama_cpp(contest: Contest, _: Path) -> list[Engine]:
    _require_cpu(contest)
    folder = contest.files.config.parent
    files = contest.gguf_files or sorted(folder.glob("*.gguf"))
    if not files:
        raise Error(f"there is no .gguf file in {folder}.", "Convert the model, or use --gguf FILE.")
    return llama_cpp_engines(files, contest.workload, contest.measures, contest.threads, contest.environment)


def _tiktoken(contest: Contest, _: Path) -> list[Engine]:
    _require_packages("tiktoken")
    task = {"model": contest.model}
    steps = _worker_steps("tiktoken_worker", task, contest, ("tokenize",))
    return [Engine("tiktoken", metadata.version("tiktoken"), "bytes", steps)]


PEERS: Mapping[str, Callable[[Contest, Path], list[Engine]]] = {
    "transformers": _transformers,
    "ctranslate2": partial(_ctranslate2, "ctranslate2", "float32"),
    "ctranslate2-int8": partial(_ctranslate2, "ctranslate2-int8", "int8"),
    LLAMA_CPP: _llama_cpp,
    "tiktoken": _tiktoken,
}


def _task(contest: Contest, checkpoint: Path) -> dict[str, Any]:
    return {
        "checkpoint": str(checkpoint),
        "prompt": PROMPT,
        "workload": asdict(contest.workload),
        "threads": contest.threads,
    }


def _worker_steps(
    module: str, task: Mapping[str, Any], contest: Contest, known: Sequence[str]
) -> dict[Step, Sequence[str]]:
    return steps_of(
        contest.measures,
        contest.workload,
        lambda tokens: worker_command(f"peers.{module}", {**task, "generate": tokens}),
        lambda wanted: worker_command(f"peers.{module}", {**task, "measures": wanted}),
        known,
    )


def _require_packages(*names: str) -> None:
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        wanted = " ".join(TORCH_EXTRA if name == "torch" else name for name in missing)
        raise Error(f"{' and '.join(missing)} cannot be imported.", f"pip install {wanted}")


def _require_cpu(contest: Contest) -> None:
    if contest.device != "cpu":
        raise Error(f"it is measured on a CPU only, and not on {contest.device}.", "Use --device cpu.")


def _save_checkpoint(contest: Contest, folder: Path) -> None:
    """Save the model as every reader knows it, whatever its files are called and whoever wrote them."""
    folder.mkdir()
    files = contest.files
    (folder / CONFIG).symlink_to(files.config.resolve())
    for path in files.weights:
        shown = WEIGHTS[0] if len(files.weights) == 1 and path.suffix == ".safetensors" else path.name
        (folder / shown).symlink_to(path.resolve())
    if len(files.weights) > 1:
        for index in files.config.parent.glob("*.index.json"):
            (folder / index.name).symlink_to(index.resolve())
    (folder / "tokenizer.json").write_text(contest.tokenizer.to_json(), "utf-8")
    kept: dict[str, str] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if contest.tokenizer.eos_id is not None:
        end = contest.tokenizer.token_bytes(contest.tokenizer.eos_id).decode(errors="replace")
        kept |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), end)
    (folder / "tokenizer_config.json").write_text(json.dumps(kept), "utf-8")
