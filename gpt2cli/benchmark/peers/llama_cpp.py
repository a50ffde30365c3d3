"""llama.cpp, measured by its own programs on GGUF files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from gpt2cli.benchmark.engines import Engine, steps_of
from gpt2cli.benchmark.workload import PROMPT, Workload
from gpt2cli.errors import Error

BENCH, COMPLETION = "llama-bench", "llama-completion"
BINARIES_VARIABLE = "LLAMA_CPP_BIN"
INSIDE = ("prefill", "decode")
WHOLE = ("first_token", "peak_memory")


def llama_cpp_engines(
    files: Sequence[Path],
    workload: Workload,
    measures: Collection[str],
    threads: int | None,
    environment: Mapping[str, str],
) -> list[Engine]:
    """Return an engine for each file, without the measures whose program is missing.

    Raises:
        Error: all programs are missing.
    """
    where = environment.get(BINARIES_VARIABLE) or environment.get("PATH")
    bench, completion = (shutil.which(name, path=where) for name in (BENCH, COMPLETION))
    if bench is None and completion is None:
        raise Error(f"neither {BENCH} nor {COMPLETION} is here.", f"Set {BINARIES_VARIABLE} to their folder.")
    known = [*(INSIDE if bench else ()), *(WHOLE if completion else ())]
    count = [] if threads is None else ["-t", str(threads)]
    engines = []
    for file in files:

        def generate(tokens: int, file: Path = file) -> list[str]:
            plain = ["-no-cnv", "--no-warmup", "--temp", "0", "--ignore-eos"]
            return [str(completion), "-m", str(file), "-p", PROMPT, "-n", str(tokens), *count, *plain]

        def inside(wanted: Sequence[str], file: Path = file) -> list[str]:
            prompt = len(workload.prompt_ids) if "prefill" in wanted else 0
            tokens = workload.tokens if "decode" in wanted else 0
            sizes = ["-p", str(prompt), "-n", str(tokens), "-r", "1"]
            return [str(bench), "-m", str(file), *sizes, *count, "-o", "json"]

        name = "llama.cpp" if len(files) == 1 else f"llama.cpp {file.stem}"
        steps = steps_of(measures, workload, generate, inside, known)
        engines.append(Engine(name, None, file.stem, steps, read_llama_bench))
    return engines


def read_llama_bench(output: bytes) -> dict[str, float]:
    """Return the measures from the JSON that llama-bench printed."""
    return {"prefill" if test["n_prompt"] else "decode": test["avg_ts"] for test in json.loads(output)}
