"""Searches among files that a command wrote and another opens: trees, records, compressed texts, journals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import typer

from fuzz.files.hostile_files import FileSearch
from fuzz.files.tiny_model import CPU, load_model, make_model
from fuzz.mutation import changed_bytes, changed_json, changed_json_lines
from fuzz.processes.screen import UNSAFE
from gpt2cli.cli.answering.options import Lines
from gpt2cli.cli.answering.run import LineRun
from gpt2cli.cli.commands.inspection.replay import _text
from gpt2cli.cli.exploring.screen import Screen
from gpt2cli.cli.input.text import raw_chunks, read_text
from gpt2cli.cli.options.sampling import CompletionOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.streams import json_line
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.inspection.compression.container import compress, compress_text, decompress, decompress_text
from gpt2cli.inspection.exploration.exploration import Exploration
from gpt2cli.inspection.exploration.saving import load, save, to_json
from gpt2cli.inspection.replay import read_records, replay
from gpt2cli.local_model import LocalModel, load_local
from gpt2cli.ops.backend import kernels_are_built
from gpt2cli.serving.completion_lines import CompletionLines
from gpt2cli.serving.journal import open_journal, read_answers
from gpt2cli.serving.lines import model_facts

QUIET = Messages(quiet=True)
COLUMNS = 30
TEXT = "Once upon a \N{THUMBS UP SIGN} cat".encode() + b"\xff\n"
REQUESTS = [{"id": number, "prompt": "ab", "max_tokens": 2, "stream": number == 3} for number in range(5)]
# What the lines of a journal depend on beside the model.
LINE_SETTINGS = {"command": "generate", "stop": ["x"], "bias": [["a", 1.5]], "top_k": 40}


def searches() -> Iterator[FileSearch]:
    """Yield the searches among files that a command wrote and another opens."""
    yield FileSearch(
        "trees", make_trees, open_tree, {"tree.json": changed_json, "tree.txt": changed_json_lines}
    )
    records = {"record.json": changed_json, "list.json": changed_json, "record.jsonl": changed_json_lines}
    yield FileSearch("records", make_records, replay_records, records)
    # What decompresses reads token by token, which only the kernels do with the same sums.
    if kernels_are_built():
        compressed = {"*.g2": changed_bytes, "short.txt": changed_bytes}
        yield FileSearch("compressed", make_compressed, decompress_all, compressed)
    journal = {"out.jsonl": changed_json_lines, "out.jsonl.run": changed_json}
    yield FileSearch("journal", make_journal, resume_lines, journal)


def make_trees(folder: Path) -> None:
    """Save a tree with branches, as JSON and as an outline."""
    exploration = Exploration(load_model(make_model(folder / "model")))
    exploration.begin("Once upon")
    for _ in range(2):
        exploration.tree.move(-2)
        for _ in range(4):
            exploration.sample()
    for name in ("tree.json", "tree.txt"):
        save(exploration, folder / name)


def open_tree(path: Path) -> None:
    """Open a tree, show it, go on with it, save it, and open what was saved."""
    loaded = load_model(path.parent / "model")
    exploration = Exploration(loaded)
    load(exploration, path)
    screen = Screen(exploration)
    for fragments in (screen.title(), screen.text(COLUMNS), screen.list()):
        shown = "".join(text for _, text, *_ in fragments)
        assert not UNSAFE.search(shown), f"the terminal would obey {shown!r}"
    exploration.sample()
    again = Exploration(loaded)
    saved = path.with_name("saved.json")
    save(exploration, saved)
    load(again, saved)
    assert to_json(again) == to_json(exploration), "another tree is opened than was saved"


def make_records(folder: Path) -> None:
    """Write records of samples in each of their forms."""
    loaded = load_model(make_model(folder / "model"))
    told: dict[str, Any] = {"max_tokens": 4, "seed": 5, "stop": ["q"], "bias": [("a", 1.5)], "ban": ["z"]}
    options = CompletionOptions(**told, num_samples=2)
    run = loaded.continuation("ab", options, 2)
    made = run.results()
    report = run.record({**options.report(), "echo": False})
    records = [
        {"index": index, "text": text.text, "token_ids": list(text.token_ids), **report}
        for index, text in enumerate(made, 1)
    ]
    (folder / "record.json").write_bytes(json_line(records[1]))
    (folder / "list.json").write_bytes(json_line(records))
    (folder / "record.jsonl").write_bytes(b"".join(map(json_line, records)))


def replay_records(path: Path) -> None:
    """Run the samples of records again, and say how they differ."""
    for record in read_records(read_text(str(path)), path.name):
        done = replay(_model_of(path, record.model, record.compute(CPU)), record)
        json_line(vars(done))
        said = _text(done)
        said.encode()
        assert not UNSAFE.search(said), f"the terminal would obey {said!r}"


def _model_of(path: Path, name: str, compute: Any) -> LocalModel:
    folder = path.parent / "model"
    if (name, compute) == (str(folder), CPU):
        return load_model(folder)
    return load_local(name, compute, offline=True)


def make_compressed(folder: Path) -> None:
    """Compress a text into a file, and another into characters."""
    loaded = load_model(make_model(folder / "model"))
    (folder / "text.g2").write_bytes(b"".join(compress(loaded, [TEXT])))
    (folder / "short.txt").write_text(compress_text(loaded, TEXT[:9]))


def decompress_all(path: Path) -> None:
    """Decompress a text, which is the one that was compressed or none."""
    loaded = load_model(path.parent / "model")
    if path.suffix == ".txt":
        # Its checksum is short.
        decompress_text(loaded, path.read_text("utf-8", "surrogateescape"))
        return
    made = b"".join(decompress(loaded, raw_chunks(str(path), 8), path.name))
    assert made == TEXT, f"it is decompressed to {made!r}"


def make_journal(folder: Path) -> None:
    """Begin to answer lines, and stop before the end."""
    make_model(folder / "model")
    saved = folder / "saved"
    saved.mkdir()
    (saved / "lines.jsonl").write_bytes(b"".join(map(json_line, REQUESTS)))
    _answer_lines(saved, resume=False)
    out = saved / "out.jsonl"
    out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:4])[:-9])
    record = json.loads((saved / "out.jsonl.run").read_bytes())
    # As a run is that was killed.
    with suppress(KeyboardInterrupt), open_journal(out, record, resumed=True):
        raise KeyboardInterrupt


def resume_lines(path: Path) -> None:
    """Go on with a copy of the run, after which each line has its answer."""
    folder = path.parent.with_name("copy")
    rmtree(folder, ignore_errors=True)
    copytree(path.parent, folder)
    _answer_lines(folder, resume=True)
    lines = (folder / "lines.jsonl").read_bytes().split(b"\n")
    wanted = {number for number, line in enumerate(lines, 1) if line.strip()}
    answered = read_answers(folder / "out.jsonl")
    missing = [number for number in wanted if number not in answered.lines]
    assert not missing, f"lines {missing} got no answer"


def _answer_lines(folder: Path, *, resume: bool) -> None:
    loaded = load_model(folder.parent / "model")
    lines = Lines(jsonl=str(folder / "lines.jsonl"), resume=resume)
    run = LineRun(lines, str(folder / "lines.jsonl"), folder / "out.jsonl", QUIET, None)
    worker = CompletionLines(loaded, SampleSettings(max_tokens=2), run.seed)
    # A line that fails has its error in its answer.
    with suppress(typer.Exit):
        run.answer(worker, model_facts(loaded), LINE_SETTINGS)
