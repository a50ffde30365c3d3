"""Compare the defaults of fine-tuning with a fixed rate and length, and write the table of docs/train.md.

    python tests/training_study.py [TEXT] [--parent MODEL] [--sizes 10000,100000] [--results FILE]

TEXT is a file or a folder of .txt files, and without it the sources of Python's standard library. Of each
size, the beginning of the text is trained on, and what follows is held out. Each result is kept in FILE at
once, so that a study that was stopped goes on where it was. The table has the rows of all texts in FILE.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import re
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gpt2cli.training.train import train

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "train.md"
PLACE = re.compile(r"(<!-- study -->\n).*?(<!-- end of study -->)", re.DOTALL)
FIXED = {"learning_rate": 5e-5, "steps": 60, "batch_tokens": 2_048}
WAYS: dict[str, dict[str, Any]] = {"fixed": FIXED, "default": {}}
SIZES = "10000,100000,1000000,10000000"
UNITS = ((1_000_000, "MB"), (1_000, "KB"))
# Enough to tell two losses apart, and quick to read beside the text.
LEAST_HELD_OUT, MOST_HELD_OUT = 6_000, 24_000
NOT_LIBRARY = {"site-packages", "test", "tests", "idle_test"}


def main() -> None:
    arguments = read_arguments()
    name, text = python_sources() if arguments.text is None else named_text(arguments.text)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    for size in map(int, arguments.sizes.split(",")):
        if len(text) < size + LEAST_HELD_OUT:
            print(f"{name} is too short for {size:,} bytes")
            continue
        for way in WAYS:
            key = {"text": name, "size": size, "way": way, "parent": Path(arguments.parent).name}
            if not any(key.items() <= row.items() for row in read_results(arguments.results)):
                row = key | measure(text, size, arguments.parent, WAYS[way])
                with arguments.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)
    write_table(read_results(arguments.results))


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("text", nargs="?", type=Path)
    parser.add_argument("--parent", default="stories")
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "training-study.jsonl")
    return parser.parse_args()


def python_sources() -> tuple[str, bytes]:
    """Return the modules of the standard library, one document each, in an order that their names decide."""
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [path for path in root.rglob("*.py") if not NOT_LIBRARY & set(path.relative_to(root).parts)]
    paths.sort(key=lambda path: hashlib.sha256(path.relative_to(root).as_posix().encode()).digest())
    version = ".".join(platform.python_version_tuple()[:2])
    return f"Python {version} sources", b"\n<|endoftext|>\n".join(path.read_bytes() for path in paths)


def named_text(path: Path) -> tuple[str, bytes]:
    paths = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    return path.name, b"\n<|endoftext|>\n".join(path.read_bytes() for path in paths)


def measure(text: bytes, size: int, parent: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fine-tune on the first bytes of a text; return the settings and the best loss on what follows."""
    held_out = min(MOST_HELD_OUT, max(LEAST_HELD_OUT, size // 10))
    with TemporaryDirectory(prefix="gpt2-study-") as folder:
        names = [Path(folder) / name for name in ("text.txt", "held-out.txt")]
        for name, part in zip(names, (text[:size], text[size : size + held_out]), strict=True):
            name.write_text(part.decode("utf-8", "ignore"))
        output = Path(folder) / "model"
        result = train(
            names[0],
            valid=names[1],
            parent=parent,
            output=output,
            device="cpu",
            threads=1,
            offline=True,
            **settings,
        )
        used = json.loads((output / "resume" / "options.json").read_text())["settings"]
        lines = map(json.loads, (output / "log.jsonl").read_text().splitlines())
        first = next(line["valid_loss"] for line in lines if "valid_loss" in line)
    return {
        "rate": used["learning_rate"],
        "steps": used["steps"],
        "step_tokens": used["batch_size"] * used["context"],
        "before": first,
        "best_step": result.best_step,
        "loss": result.best_loss,
    }


def read_results(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def write_table(rows: list[dict[str, Any]]) -> None:
    """Print a line for each text and size, and put all into the page."""
    lines = [
        "| text | size | untrained loss | 5e-5, 60 steps | default | loss | best after tokens |",
        "|---|--:|--:|--:|---|--:|--:|",
    ]
    results = {(row["text"], row["parent"], row["size"], row["way"]): row for row in rows}
    for (text, parent, size, way), row in results.items():
        fixed = results.get((text, parent, size, "fixed"))
        if way != "default" or fixed is None:
            continue
        plan = f"{row['rate']:g}, {row['steps']:,} steps of {row['step_tokens']:,} tokens"
        seen = " / ".join(f"{one['best_step'] * one['step_tokens']:,}" for one in (fixed, row))
        lines.append(
            f"| {text} | {size_text(size)} | {row['before']:.3f} | {fixed['loss']:.3f} | {plan} "
            f"| {row['loss']:.3f} | {seen} |"
        )
    table = "\n".join(lines) + "\n"
    print(table)
    page, count = PLACE.subn(lambda match: f"{match[1]}{table}{match[2]}", PAGE.read_text())
    assert count == 1, f"{PAGE} has no place for the table"
    PAGE.write_text(page)


def size_text(size: int) -> str:
    unit, name = next(unit for unit in UNITS if size >= unit[0])
    return f"{size / unit:g} {name}"


if __name__ == "__main__":
    main()
