"""Searches among texts to train on and the folders of runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

from fuzz.files.hostile_files import FileSearch
from fuzz.mutation import changed_bytes, changed_json, changed_lines, changed_safetensors
from gpt2cli.training.data.texts import TrainingTexts
from gpt2cli.training.run.opening import open_run
from gpt2cli.training.run.run_request import RunRequest

SMALL: dict[str, Any] = {"layers": 1, "heads": 1, "width": 8, "context": 8, "vocab": 300, "batch_tokens": 64}
SMALL |= {"steps": 4, "eval_every": 1, "device": "cpu", "threads": 1}
ROWS = [(f"{number}", f'He said "no", {number}') for number in range(5)]


def searches() -> Iterator[FileSearch]:
    """Yield the searches among texts to train on and the folders of runs."""
    texts = {"*.csv": changed_lines, "*.tsv": changed_lines, "*.jsonl": changed_lines, "*.txt": changed_bytes}
    binary = {"*.npy": changed_bytes, "*.u16": changed_bytes, "*.gz": changed_bytes}
    yield FileSearch("texts", make_texts, read_texts, texts | binary)
    yield FileSearch(
        "run",
        make_run,
        resume_run,
        {
            "log.jsonl": changed_lines,
            "*.json": changed_json,
            "*.npy": changed_bytes,
            "*.safetensors": changed_safetensors,
        },
    )


def make_texts(folder: Path) -> None:
    """Write texts in every format that `train` reads."""
    import gzip

    import numpy as np

    header = [("id", "text"), *ROWS]
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in header]
    (folder / "a.csv").write_text("".join(",".join(row) + "\r\n" for row in quoted), newline="")
    (folder / "a.tsv").write_text("".join("\t".join(row) + "\n" for row in quoted))
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for _, text in ROWS))
    (folder / "a.txt").write_text("one\n<|endoftext|>\ntwo é\n")
    (folder / "a.txt.gz").write_bytes(gzip.compress(b"some text\n" * 50))
    np.save(folder / "a.npy", np.arange(99, dtype=np.uint16))
    (folder / "a.u16").write_bytes(np.arange(99, dtype=np.uint16).tobytes())


def read_texts(path: Path) -> None:
    """Read a text to train on."""
    TrainingTexts([str(path)], "marker", None)


def make_run(folder: Path) -> None:
    """Begin a run, and stop it before its end."""
    text = folder / "text.txt"
    text.write_text("".join(f"the {number} cats sat on {number} mats\n" for number in range(400)))
    train_on(RunRequest([str(text)], output=folder / "run", **SMALL), steps=2)
    text.unlink()


def resume_run(path: Path) -> None:
    """Resume a copy of the run, as its files change."""
    folder = next(parent for parent in path.parents if parent.name == "run")
    copy = folder.with_name("copy")
    rmtree(copy, ignore_errors=True)
    copytree(folder, copy)
    train_on(RunRequest([], output=copy, resume=True, device="cpu", threads=1), steps=2)


def train_on(request: RunRequest, steps: int) -> None:
    """Begin or resume a run, and stop it after some steps."""
    with open_run(request) as run:
        last = run.progress.step + steps
        for record in run:
            if record.step >= last:
                run.stop()
