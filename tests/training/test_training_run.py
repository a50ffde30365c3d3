"""A run in its folder: its records, files, resumption, picture and memory use."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from checkpoints import save_tokenizer
from test_training import CONFIG, SETTINGS
from transformers import GPT2LMHeadModel

from gpt2cli.checkpoint.architectures import GPT2
from gpt2cli.errors import CheckpointError, Error, InputError, UsageError
from gpt2cli.model.free_memory import available_memory
from gpt2cli.training.data.documents import Ids
from gpt2cli.training.plan.memory import (
    estimate_memory,
    require_memory,
    suitable_micro_batch,
)
from gpt2cli.training.plan.settings import TrainingSettings
from gpt2cli.training.run import pace, training_run
from gpt2cli.training.run.beginning import Beginning, begin_run
from gpt2cli.training.run.evaluation import EvaluationRecord
from gpt2cli.training.run.log import TrainingLog
from gpt2cli.training.run.loss_chart import loss_chart
from gpt2cli.training.run.run_folder import RunFolder
from gpt2cli.training.run.state import read_tensors
from gpt2cli.training.run.training_run import TrainingRun
from gpt2cli.training.step.optimizers import learning_rate
from gpt2cli.training.step.trainer import StepRecord, Trainer, initial_weights

RUN = replace(SETTINGS, steps=10, evaluate_every=4, dropout=0.1, micro_batch=2)
IDS: Ids = np.random.default_rng(0).integers(1, 320, 900).astype(np.uint16)
TRAIN, VALID = IDS[:800], IDS[800:]


def begin(path: Path, settings: TrainingSettings = RUN, train: Ids = TRAIN) -> RunFolder:
    folder = RunFolder(path)
    path.parent.mkdir(exist_ok=True)
    save_tokenizer(path.parent, CONFIG.vocab_size)
    files = {"tokenizer.json": (path.parent / "tokenizer.json").read_text()}
    weights = initial_weights(CONFIG, settings.seed)
    with folder.created():
        begin_run(folder, Beginning(CONFIG, weights, files, train, VALID, settings, {}))
    return folder


def test_a_log_may_hold_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "valid_loss": 2.0, "sample": "\\ud800"}\n{"step": 2, "loss": 1.0}\n')
    TrainingLog(path).keep_until(1, 1)
    assert path.read_text() == '{"step": 1, "valid_loss": 2.0, "sample": "?"}\n'


def logged(folder: RunFolder) -> list[dict[str, Any]]:
    lines = folder.log.read_text().splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


@pytest.mark.slow
def test_a_run_yields_its_steps_and_evaluations_in_order(tmp_path: Path) -> None:
    run = TrainingRun(begin(tmp_path / "run"))
    records = list(run)
    kinds = ["e" if isinstance(record, EvaluationRecord) else "s" for record in records]
    assert "".join(kinds) == "e" + "ssss" + "e" + "ssss" + "e" + "ss" + "e"
    assert [record.step for record in records if isinstance(record, StepRecord)] == [*range(1, 11)]
    assert run.outcome == "finished"
    assert [line["step"] for line in logged(run.folder)] == [record.step for record in records]


def test_the_held_out_loss_is_that_of_transformers_over_all_ids_but_the_first(tmp_path: Path) -> None:
    run = TrainingRun(begin(tmp_path / "run"))
    first = next(iter(run))
    assert isinstance(first, EvaluationRecord)
    model = GPT2LMHeadModel.from_pretrained(run.folder.path).eval()
    total = 0.0
    with torch.no_grad():
        for start in range(0, VALID.size - 1, RUN.context):
            window = torch.from_numpy(VALID[start : start + RUN.context + 1].astype(np.int64))[None]
            total += model(window, labels=window).loss.item() * (window.numel() - 1)
    assert first.valid_loss == pytest.approx(total / (VALID.size - 1), rel=1e-5)
    assert first.perplexity == pytest.approx(math.exp(first.valid_loss))
    text_bytes = len(run.tokenizer.decode(VALID[1:].tolist()))
    assert first.bits_per_byte == pytest.approx(total / math.log(2) / text_bytes, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        *((RUN, taken) for taken in (0, 1, 6, 12)),
        (replace(RUN, lora=2, optimizer="adamw"), 8),
        (replace(RUN, freeze=1), 8),
    ],
)
def test_a_run_that_was_stopped_anywhere_ends_as_if_it_had_not_been(
    tmp_path: Path, settings: TrainingSettings, taken: int
) -> None:
    whole = TrainingRun(begin(tmp_path / "whole", settings))
    expected = list(whole)
    folder = begin(tmp_path / "parts", settings)
    first = TrainingRun(folder)
    seen = list(itertools.islice(first, taken))
    first.stop()
    rest = list(TrainingRun(folder))
    assert (seen + rest)[-1] == expected[-1]
    assert logged(folder) == logged(whole.folder)
    for name in ("model.safetensors", "last/model.safetensors", "resume/state.safetensors"):
        assert (folder.path / name).read_bytes() == (whole.folder.path / name).read_bytes()


@pytest.mark.slow
def test_frozen_weights_are_those_of_the_beginning(tmp_path: Path) -> None:
    run = TrainingRun(begin(tmp_path / "run", replace(RUN, lora=2, optimizer="adamw")))
    list(run)
    last = read_tensors(run.folder.last / "model.safetensors")
    for name, weight in initial_weights(CONFIG, RUN.seed).items():
        unchanged = not name.startswith("layers.") or weight.ndim == 1
        assert last[GPT2.full_name(name)].equal(weight) == unchanged


@pytest.mark.slow
def test_stop_ends_after_the_step_and_saves(tmp_path: Path) -> None:
    run = TrainingRun(begin(tmp_path / "run"))
    for record in run:
        if record.step == 3:
            run.stop()
    assert run.outcome == "interrupted"
    assert TrainingRun(run.folder).progress.step == 3


@pytest.mark.slow
@pytest.mark.parametrize("taken", [1, 3])
def test_a_stop_before_the_first_evaluation_leaves_the_newest_weights_until_the_run_goes_on(
    tmp_path: Path, taken: int
) -> None:
    whole = TrainingRun(begin(tmp_path / "whole", replace(RUN, learning_rate=1e-9)))
    list(whole)
    run = TrainingRun(begin(tmp_path / "run", replace(RUN, learning_rate=1e-9)))
    top, last = (folder / "model.safetensors" for folder in (run.folder.path, run.folder.last))
    for record in run:
        if record.step == taken:
            untrained = top.read_bytes()
            run.stop()
    assert run.holds_newest
    assert top.read_bytes() == last.read_bytes() != untrained
    # Nobody trains as badly as here, and step 0 may stay the best.
    resumed = TrainingRun(run.folder)
    next(iter(resumed))
    assert top.read_bytes() == untrained
    list(TrainingRun(run.folder))
    for name in ("model.safetensors", "last/model.safetensors", "resume/state.safetensors"):
        assert (run.folder.path / name).read_bytes() == (whole.folder.path / name).read_bytes()


@pytest.mark.slow
def test_a_stop_after_an_evaluation_leaves_the_best_weights(tmp_path: Path) -> None:
    run = TrainingRun(begin(tmp_path / "run"))
    for record in run:
        if record.step == 6:
            run.stop()
    assert run.progress.evaluated_step == 4
    assert not run.holds_newest
    top, last = (folder / "model.safetensors" for folder in (run.folder.path, run.folder.last))
    assert top.read_bytes() != last.read_bytes()


class SlowClock:
    """A clock that only steps move, each by as many seconds as are set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.seconds = 15.0
        monkeypatch.setattr(pace, "time", self)
        monkeypatch.setattr(training_run, "time", self)
        train_step = Trainer.train_step

        def slow_step(
            trainer: Trainer, ids: Ids, stop: bool = False, fall: float | None = None
        ) -> tuple[StepRecord, bool]:
            record, stopping = train_step(trainer, ids, stop, fall)
            self.now += self.seconds
            return replace(record, seconds=self.seconds), stopping

        monkeypatch.setattr(Trainer, "train_step", slow_step)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SlowClock:
    return SlowClock(monkeypatch)


TIMED = replace(RUN, steps=1_000, evaluate_every=500, warmup_steps=2, minutes=5.0, patience=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "seconds", [lambda step: 15.0, lambda step: 30.0 if step < 5 else 15.0, lambda step: 9.0 + step / 2]
)
def test_a_run_of_some_minutes_takes_them_all_with_a_rate_that_falls_smoothly_to_its_end(
    tmp_path: Path, clock: SlowClock, seconds: Callable[[int], float]
) -> None:
    run = TrainingRun(begin(tmp_path / "run", TIMED))
    rates = []
    for record in run:
        clock.seconds = seconds(record.step)
        if isinstance(record, StepRecord):
            rates.append(record.learning_rate)
    assert run.outcome == "out of time"
    assert run.progress.evaluated_step == run.progress.step == run.expected_steps == len(rates)
    assert 300.0 - 2 * clock.seconds < clock.now <= 300.0
    falling = rates[run.settings.warmup_steps :]
    assert falling == sorted(falling, reverse=True)
    # In its middle, a cosine falls by pi / 2 of a line, and faster after a slow beginning.
    steepest = max(before - after for before, after in itertools.pairwise(falling))
    assert steepest < 3.0 * RUN.learning_rate / len(falling)
    # Until three steps are measured, the rate follows the plan, which is far too long.
    counted = replace(run.settings, steps=len(rates))
    if seconds(0) == seconds(len(rates)):
        planned = [learning_rate(counted, step) for step in range(len(rates))]
        assert rates == pytest.approx(planned, abs=0.1 * RUN.learning_rate)
    assert rates[-1] == pytest.approx(learning_rate(counted, counted.steps - 1), abs=0.05 * RUN.learning_rate)


@pytest.mark.slow
def test_a_run_that_fits_its_minutes_is_one_without(tmp_path: Path, clock: SlowClock) -> None:
    settings = replace(TIMED, steps=8)
    runs = [
        TrainingRun(begin(tmp_path / str(minutes), replace(settings, minutes=minutes)))
        for minutes in (10, None)
    ]
    assert list(runs[0]) == list(runs[1])
    assert runs[0].outcome == "finished"


@pytest.mark.slow
def test_a_resumed_run_has_what_is_left_of_its_minutes_and_of_the_fall_of_its_rate(
    tmp_path: Path, clock: SlowClock
) -> None:
    run = TrainingRun(begin(tmp_path / "run", TIMED))
    for record in run:
        if record.step == 10:
            run.stop()
    assert (run.outcome, run.progress.seconds) == ("interrupted", 150.0)
    begun = clock.now = 7_000.0
    resumed = TrainingRun(run.folder)
    assert resumed.settings == run.settings
    assert resumed.progress.fall == run.progress.fall
    rates = [record.learning_rate for record in resumed if isinstance(record, StepRecord)]
    assert clock.now == begun + 150.0
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(learning_rate(replace(TIMED, steps=20), 10), abs=0.1 * RUN.learning_rate)
    assert rates[-1] < 0.1 * RUN.learning_rate
    # A run whose time is over takes no further step, however often it is resumed.
    clock.seconds = 1.0
    again = TrainingRun(run.folder)
    assert (list(again), again.outcome) == ([], "out of time")


@pytest.mark.slow
def test_a_run_ends_when_the_held_out_loss_no_longer_falls_and_keeps_the_best(tmp_path: Path) -> None:
    settings = replace(RUN, steps=400, evaluate_every=5, patience=2, learning_rate=0.02)
    run = TrainingRun(begin(tmp_path / "run", settings, TRAIN[:40]))
    evaluations = [record for record in run if isinstance(record, EvaluationRecord)]
    assert run.outcome == "no longer improving"
    assert [record.is_best for record in evaluations[-3:]] == [True, False, False]
    best = min(evaluations, key=lambda record: record.valid_loss)
    assert (run.progress.best_step, run.progress.best_loss) == (best.step, best.valid_loss)
    top, last = (folder / "model.safetensors" for folder in (run.folder.path, run.folder.last))
    assert top.read_bytes() != last.read_bytes()


def test_a_loss_that_is_no_number_ends_the_run_with_advice(tmp_path: Path) -> None:
    run = TrainingRun(begin(tmp_path / "run", replace(RUN, learning_rate=1e30, warmup_steps=0)))
    with pytest.raises(Error, match="Lower `learning_rate`"):
        list(run)


def test_a_folder_without_a_run_or_with_a_damaged_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run to resume"):
        TrainingRun(RunFolder(tmp_path))
    folder = begin(tmp_path / "run")
    folder.state.write_bytes(folder.state.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="is damaged"):
        TrainingRun(folder)


@pytest.mark.slow
def test_whatever_byte_of_a_run_has_changed_a_line_names_the_file_or_the_run_goes_on(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run", replace(RUN, steps=2, evaluate_every=1, optimizer="adamw"))
    assert len(list(TrainingRun(folder))) == 5
    rng = random.Random(1)
    for path in (folder.options, folder.log, folder.state, folder.train, folder.valid, folder.frozen):
        whole = path.read_bytes()
        # Many parts of the headers, and some of the numbers.
        places = [*range(0, min(len(whole), 600), 29), *(rng.randrange(len(whole)) for _ in range(5))]
        contents = [b""]
        for place in places:
            spoiled = bytearray(whole)
            spoiled[place] ^= 1 << rng.randrange(8)
            contents.append(bytes(spoiled))
        refusals = [error for content in contents if (error := refusal(folder, path, content))]
        path.write_bytes(whole)
        for error in refusals:
            assert str(path) in error.message
            assert str(folder.last) in error.hint
            assert "\n" not in str(error)
        # A damaged log keeps its other records. Bits of a token file make other ids, and JSON has white
        # space.
        is_summed = path in (folder.options, folder.state)
        assert len(refusals) >= (len(contents) // 2 if is_summed else int(path != folder.log)), path
    assert refusal(folder, folder.state, folder.state.read_bytes()) is None


def refusal(folder: RunFolder, path: Path, content: bytes) -> CheckpointError | None:
    """Return the error of a run one of whose files has another content, or None if it can be resumed."""
    path.write_bytes(content)
    try:
        run = TrainingRun(folder)
    except CheckpointError as error:
        return error
    if path == folder.log:
        list(run)
    return None


@pytest.mark.parametrize(
    "options", ["[]", "3", "{", "null", '{"settings": 3}', '{"settings": {}, "threads": "x"}', "[" * 9999]
)
def test_options_of_another_form_are_damaged(tmp_path: Path, options: str) -> None:
    folder = begin(tmp_path / "run")
    folder.options.write_text(options)
    with pytest.raises(CheckpointError, match=r"options\.json is damaged"):
        TrainingRun(folder)


def test_what_fails_to_begin_leaves_nothing_and_foreign_files_stay(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "new" / "run")
    with pytest.raises(TypeError), folder.created():
        folder.save_options({"not": object()})
    assert not (tmp_path / "new").exists()
    (tmp_path / "notes").write_text("mine")
    folder = RunFolder(tmp_path)
    with pytest.raises(UsageError, match=r"not empty\. .* `force`"):
        folder.require_vacant(force=False)
    folder.require_vacant(force=True)
    with pytest.raises(KeyError), folder.created():
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_disk_without_room_is_noticed_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="MB are free"):
        RunFolder(tmp_path).require_space(10**18)


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"step": 0, "valid_loss": 5.0}],
        [{"step": n, "loss": 5.0 / n} for n in range(1, 5_000)],
        [{"step": 0, "valid_loss": 5.0}, {"step": 1, "loss": 3.0}, {"step": 1, "valid_loss": math.nan}],
    ],
    ids=["nothing", "one", "many", "no number"],
)
def test_the_chart_is_small_valid_svg(records: list[dict[str, Any]]) -> None:
    picture = loss_chart(records)
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "nan" not in picture
    assert len(picture) < 15_000
    if any("valid_loss" in record for record in records):
        assert "best 5.0000 at step 0" in picture


def test_memory_is_estimated_and_what_cannot_fit_is_refused_with_what_would_help() -> None:
    settings = replace(SETTINGS, context=48, batch_size=64, micro_batch=64, optimizer="adamw")
    whole = estimate_memory(CONFIG, settings)
    single = estimate_memory(CONFIG, replace(settings, micro_batch=1))
    assert single < whole
    assert estimate_memory(CONFIG, replace(settings, micro_batch=1, lora=8)) < single
    assert require_memory(CONFIG, settings, whole) == whole
    with pytest.raises(UsageError, match="`micro_batch` 1 would take"):
        require_memory(CONFIG, settings, single)
    with pytest.raises(UsageError, match="`micro_batch` 1 and `lora` 8 would take"):
        require_memory(CONFIG, settings, single - 1)
    with pytest.raises(UsageError, match="a smaller model"):
        require_memory(CONFIG, settings, 1_000)
    assert suitable_micro_batch(CONFIG, settings, 0) == 1
    assert suitable_micro_batch(CONFIG, settings, 10**12) == 64
    assert available_memory() > 0
