"""Training from Python: the same results as the command, Ctrl-C, and errors that name parameters."""

from __future__ import annotations

import inspect
import json
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from runs import POEM, losses

from gpt2cli.cli.app import app
from gpt2cli.errors import UsageError
from gpt2cli.hub.reporter import Reporter
from gpt2cli.model.loading import load
from gpt2cli.ops.compute import Compute
from gpt2cli.training.run.evaluation import EvaluationRecord
from gpt2cli.training.run.run_request import RunRequest
from gpt2cli.training.run.training_run import Record
from gpt2cli.training.train import train

SHAPE: dict[str, Any] = {"layers": 1, "heads": 2, "width": 16, "context": 24, "vocab": 290, "threads": 1}
SHORT: dict[str, Any] = {**SHAPE, "batch_tokens": 96, "steps": 6, "eval_every": 3, "seed": 5}
TRAIN_AND_TELL = """
import json, sys
from gpt2cli.training.train import train
try:
    train(**json.loads(sys.argv[1]), on_record=lambda record: print(record.step, flush=True))
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""


@pytest.fixture
def poem(tmp_path: Path) -> Path:
    path = tmp_path / "poem.txt"
    path.write_text(POEM)
    return path


def flags(**parameters: Any) -> list[str]:
    return [
        part for name, value in parameters.items() for part in (f"--{name.replace('_', '-')}", str(value))
    ]


class Notes(Reporter):
    """Keep the notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.slow
def test_it_trains_as_the_command_does_and_tells_how_the_run_ended(poem: Path, tmp_path: Path) -> None:
    records: list[Record] = []
    notes = Notes()
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    result = train(poem, output=mine, reporter=notes, on_record=records.append, **SHORT)
    app(["train", str(poem), "-q", "-o", str(theirs), *flags(**SHORT)], standalone_mode=False)
    assert losses(mine) == losses(theirs)
    assert [record.step for record in records] == [0, 1, 2, 3, 3, 4, 5, 6, 6]
    evaluations = [record for record in records if isinstance(record, EvaluationRecord)]
    best = min(evaluations, key=lambda record: record.valid_loss)
    assert (result.folder, result.steps, result.outcome) == (mine, 6, "finished")
    assert (result.best_step, result.best_loss) == (best.step, best.valid_loss)
    assert result.bits_per_byte == best.bits_per_byte
    assert notes.lines[0].startswith("1 document, ")
    model = load(str(mine), Compute(device="cpu")).model
    assert (model.config.n_layer, model.config.n_embd, model.config.n_positions) == (1, 16, 24)


@pytest.mark.slow
def test_a_parent_is_fine_tuned_on_several_texts_away_from_the_main_thread(
    poem: Path, tmp_path: Path
) -> None:
    train(poem, output=str(tmp_path / "parent"), **SHORT)
    tuned = {"parent": tmp_path / "parent", "output": tmp_path / "child", "steps": 2, "threads": 1}
    thread = Thread(target=train, args=([poem, str(poem)],), kwargs=tuned)
    thread.start()
    thread.join()
    steps = [step for step, _ in losses(tmp_path / "child")]
    assert steps == [0, 1, 1, 2, 2]
    kept = json.loads((tmp_path / "child" / "resume" / "options.json").read_text())["request"]
    assert kept["texts"] == [str(poem)] * 2
    assert kept["parent"] == str(tmp_path / "parent")


@pytest.mark.slow
def test_ctrl_c_saves_and_raises_and_resuming_changes_no_loss(
    poem: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    run = {**SHORT, "steps": 120, "eval_every": 60, "patience": 0, "dropout": 0.1}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(poem, output=whole, **run)
    call = json.dumps({"texts": str(poem), "output": str(parts), **run})
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN_AND_TELL, call], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while process.stdout.readline() != "20\n":
        pass
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out.endswith("KeyboardInterrupt\n")
    assert process.returncode == 0
    assert 20 <= len(losses(parts)) < len(losses(whole))
    notes = Notes()
    assert train(output=parts, resume=True, reporter=notes).outcome == "finished"
    assert notes.lines[0].startswith("Resuming after step ")
    assert losses(parts) == losses(whole)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "`steps` must be 1 or more, not 0."),
        ({"vocab": 100}, "`vocab` must be 257 or more, not 100."),
        ({"seed": -1}, "`seed` must be between 0 and 9223372036854775807, not -1."),
        ({"learning_rate": 0.0}, "`learning_rate` must be above 0, not 0.0."),
        ({"minutes": float("inf")}, "`minutes` must be finite, not inf."),
        ({"size": "2M"}, "`size` must be 1M or 5M or 25M or 124M or 355M, not 2M."),
        ({"lora": 4}, "`lora` needs `parent`."),
        ({"parent": "gpt2", "layers": 2}, "`layers` shapes a new model, so it excludes `parent`."),
        ({"width": 10, "heads": 3}, "`width` 10 is not a multiple of `heads` 3."),
        ({"resume": True, "force": True}, "`resume` continues a run and `force` replaces it."),
        ({"resume": True}, "holds no run to resume. Leave out `resume` to begin one."),
        ({"texts": []}, "`texts` is missing."),
    ],
    ids=str,
)
def test_an_error_names_the_parameter_and_leaves_nothing(
    poem: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        train(**{"texts": poem, "output": tmp_path / "x", **values})
    assert message in str(caught.value)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_a_resumed_run_keeps_its_settings(poem: Path, tmp_path: Path) -> None:
    train(poem, output=tmp_path / "x", **SHORT)
    with pytest.raises(UsageError, match="`steps` differs from what the run began with"):
        train(output=tmp_path / "x", resume=True, steps=7)
    assert train(poem, output=tmp_path / "x", resume=True, steps=6).steps == 6


def test_the_parameters_are_those_of_a_request_and_all_are_documented() -> None:
    parameters = inspect.signature(train).parameters
    assert list(parameters) == list(inspect.signature(RunRequest).parameters)
    documentation = inspect.getdoc(train) or ""
    assert [name for name in parameters if f"    {name}: " not in documentation] == []
