"""llama.cpp, measured on GGUF files by its own programs, or by its server from the package xllamacpp."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from gpt2cli.benchmark.conditions import Conditions
from gpt2cli.benchmark.engines import Command, Engine, steps_of, whole_commands, worker_command
from gpt2cli.benchmark.many.prompts import LONGEST
from gpt2cli.benchmark.measurements import Step
from gpt2cli.benchmark.workload import PROMPT
from gpt2cli.errors import Error

BENCH, COMPLETION, SERVER = PROGRAMS = ("llama-bench", "llama-completion", "llama-server")
PACKAGE = "xllamacpp"
BINARIES_VARIABLE = "LLAMA_CPP_BIN"
MEASURES = ("first_token", "prefill", "decode", "prompts", "shared", "unshared", "server", "peak_memory")
# The best of these counts.
SLOTS = (8, 16, 32, 64)


def llama_cpp_engines(files: Sequence[Path], conditions: Conditions) -> list[Engine]:
    """Return an engine for each file, without the measures whose program is missing.

    Raises:
        Error: all programs that take the measures are missing.
    """
    environment = conditions.environment
    where = environment.get(BINARIES_VARIABLE) or environment.get("PATH")
    found = {name: path for name in PROGRAMS if (path := shutil.which(name, path=where))}
    engines = []
    for file in files:
        name = "llama.cpp" if len(files) == 1 else f"llama.cpp {file.stem}"
        steps = steps_of(conditions.measures, MEASURES, _commands(file, found, conditions))
        engines.append(Engine(name, None, file.stem, steps, read_llama_bench))
    if not any(engine.steps for engine in engines):
        missing = ", ".join(name for name in PROGRAMS if name not in found)
        raise Error(f"there is no {missing}.", f"Set {BINARIES_VARIABLE} to their folder.")
    return engines


def _commands(file: Path, found: Mapping[str, str], conditions: Conditions) -> dict[Step, Command]:
    workload, count = conditions.workload, conditions.threads
    threads = [] if count is None else ["-t", str(count)]

    def generate(tokens: int) -> list[str]:
        plain = ["-no-cnv", "--no-warmup", "--temp", "0", "--ignore-eos"]
        return [found[COMPLETION], "-m", str(file), "-p", PROMPT, "-n", str(tokens), *threads, *plain]

    def inside(wanted: Sequence[str]) -> list[str]:
        prompt = len(workload.prompt_ids) if "prefill" in wanted else 0
        tokens = workload.tokens if "decode" in wanted else 0
        sizes = ["-p", str(prompt), "-n", str(tokens), "-r", "1"]
        return [found[BENCH], "-m", str(file), *sizes, *threads, "-o", "json"]

    def serve(slots: int) -> list[str]:
        positions = slots * min(workload.context, LONGEST + workload.new_tokens)
        if SERVER not in found:
            task = {"file": str(file), "slots": slots, "positions": positions, "threads": count}
            return worker_command("peers.llama_cpp_server", {**task, "clients": workload.clients})
        sizes = ["-np", str(slots), "-c", str(positions), "--threads-http", str(workload.clients + 4)]
        return [found[SERVER], "-m", str(file), *sizes, *threads, "--cache-ram", "0", "--port"]

    def asked(wanted: Sequence[str]) -> list[str]:
        servers = {slots: serve(slots) for slots in SLOTS}
        task = {"prompts": str(conditions.prompts), "workload": asdict(workload), "servers": servers}
        return worker_command("peers.llama_cpp_worker", {**task, "measures": wanted})

    commands: dict[Step, Command] = {}
    if COMPLETION in found:
        commands |= whole_commands(workload, generate)
    if BENCH in found:
        commands["inside"] = inside
    if SERVER in found or find_spec(PACKAGE):
        commands |= {"many": asked, "serving": asked}
    return commands


def read_llama_bench(output: bytes) -> dict[str, float]:
    """Return the measures from the JSON that llama-bench printed."""
    return {"prefill" if test["n_prompt"] else "decode": test["avg_ts"] for test in json.loads(output)}
