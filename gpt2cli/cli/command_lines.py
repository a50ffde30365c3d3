"""The command lines of this program's own processes, which a benchmark starts."""

from __future__ import annotations

import sys
from dataclasses import asdict

from gpt2cli.benchmark.many.programs import Programs
from gpt2cli.ops.compute import Compute


def own_programs(model: str, compute: Compute) -> Programs:
    """Return the command lines that compute with a model in some way."""
    chosen = [
        word
        for name, value in asdict(compute).items()
        if value is not None and value is not False
        for word in ([f"--{name}"] if value is True else [f"--{name}", str(value)])
    ]
    shared = ["-m", model, *chosen, "--offline", "-q"]

    def command(*words: str) -> list[str]:
        return [sys.executable, "-m", "gpt2cli", *words]

    def complete(tokens: int) -> list[str]:
        # The beginning of the prompt is cut off if the context is too short for prompt and tokens.
        fixed = ["--truncate", "left", "--ignore-eos", "--temperature", "0"]
        return command("generate", *shared, *fixed, "-n", str(tokens))

    def lines(rows: int) -> list[str]:
        return command("generate", "--jsonl", "-", *shared, "--batch-size", str(rows))

    def serve(rows: int) -> list[str]:
        return command("serve", *shared, "--batch-size", str(rows), "--port")

    return Programs(complete, lines, serve)
