"""The study of fine-tuning's defaults: it writes its table, and goes on where it was stopped."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import training_study
from runs import POEM

from gpt2cli.training.train import train


def study(*arguments: str | Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["training_study.py", *map(str, arguments)])
        training_study.main()


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_stopped_and_writes_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poem, parent, results, page = (
        tmp_path / name for name in ("poem.txt", "parent", "kept/r.jsonl", "page.md")
    )
    poem.write_text(POEM * 3)
    page.write_text("Before.\n<!-- study -->\nold\n<!-- end of study -->\nAfter.\n")
    train(poem, output=parent, layers=1, heads=2, width=16, context=24, vocab=290, steps=2, threads=1)
    monkeypatch.setattr(training_study, "PAGE", page)
    arguments = (poem, "--parent", parent, "--sizes", "2000,5000,9000000", "--results", results)
    study(*arguments)
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    assert [(row["size"], row["way"]) for row in rows] == [
        *((2_000, "fixed"), (2_000, "default"), (5_000, "fixed"), (5_000, "default"))
    ]
    assert {(row["rate"], row["steps"]) for row in rows[::2]} == {(5e-5, 60)}
    first, last, *others = re.findall(r"^\| poem.txt \| (\d KB) \| .* \|$", page.read_text(), re.MULTILINE)
    assert (first, last, others) == ("2 KB", "5 KB", [])
    assert page.read_text().startswith("Before.\n<!-- study -->\n| text |")
    # A study that was killed has fewer rows, and measures only those that are missing.
    results.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    written = page.read_text()
    measured: list[int] = []
    measure = training_study.measure

    def counted(text: bytes, size: int, *rest: object) -> dict[str, object]:
        measured.append(size)
        return measure(text, size, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(training_study, "measure", counted)
    study(*arguments)
    assert measured == [5_000]
    assert page.read_text() == written


@pytest.mark.slow
def test_the_sources_of_python_are_enough_for_the_longest_text() -> None:
    name, text = training_study.python_sources()
    assert name.startswith("Python 3.")
    assert len(text) > max(map(int, training_study.SIZES.split(","))) + training_study.MOST_HELD_OUT
    assert training_study.python_sources()[1] == text


def test_the_page_has_one_place_for_the_table() -> None:
    places = training_study.PLACE.findall(training_study.PAGE.read_text())
    assert len(places) == 1
