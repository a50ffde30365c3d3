"""A run from its first step to its last: train, evaluate, save, stop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Literal

import numpy as np
import torch

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.saving import save_model, save_weights
from gpt2cli.checkpoint.weights import expected_shapes
from gpt2cli.checkpoint.whole_file import whole_file
from gpt2cli.errors import CheckpointError, Error, UsageError
from gpt2cli.hub.checkpoint_files import tokenizer_in
from gpt2cli.hub.model_files import ModelFiles
from gpt2cli.text.loading import load_tokenizer
from gpt2cli.training.plan.settings import TrainingSettings
from gpt2cli.training.run.evaluation import (
    PROMPT_TOKENS,
    EvaluationRecord,
    bits_per_byte,
    mean_loss,
    write_sample,
)
from gpt2cli.training.run.log import TrainingLog
from gpt2cli.training.run.loss_chart import loss_chart
from gpt2cli.training.run.model_card import model_card, write_card
from gpt2cli.training.run.pace import Pace
from gpt2cli.training.run.run_folder import RunFolder
from gpt2cli.training.run.state import read_tensors, restore_state, save_state, to_arrays
from gpt2cli.training.step.data_parallel import Ranks
from gpt2cli.training.step.optimizers import planned_fall
from gpt2cli.training.step.trainer import StepRecord, Trainer

# Between evaluations, which save in any case.
SAVE_SECONDS = 300.0

Record = StepRecord | EvaluationRecord
Outcome = Literal["finished", "no longer improving", "out of time", "interrupted"]


class TrainingRun:
    """A run, continued from where its folder says it stopped."""

    def __init__(
        self, folder: RunFolder, device: str = "cpu", ranks: Ranks | None = None, compiled: bool = False
    ) -> None:
        """Open a run.

        Raises:
            UsageError, CheckpointError: the folder holds none, or a damaged one.
        """
        folder.require_run()
        self.folder = folder
        self.ranks = ranks or Ranks()
        self._options = folder.load_options()
        try:
            self.settings = TrainingSettings(**self._options["settings"])
        except (KeyError, TypeError, UsageError) as error:
            raise folder.damaged(folder.options) from error
        self.config = ModelConfig.from_json(folder.config)
        self.outcome: Outcome | None = None
        self.tokenizer = load_tokenizer(
            ModelFiles(str(folder.path), None, folder.config, (), tokenizer_in(folder.path)),
            self.config,
        )
        self._train, self._valid = folder.load_ids()
        for path, ids in ((folder.train, self._train), (folder.valid, self._valid)):
            if ids.max() >= self.config.vocab_size:
                raise folder.damaged(path)
        try:
            self._trainer = _open_trainer(folder, self.config, self.settings, self.ranks, device, compiled)
            self.progress = restore_state(folder.state, self._trainer)
        except CheckpointError as error:
            raise CheckpointError(error.message, folder.damaged(folder.state).hint) from error
        self.pace = Pace(self.progress.seconds)
        self._log = TrainingLog(folder.log)
        self._stop_wanted = False
        self._stop_agreed = False
        self._time_is_up = False
        self._steps_left = self.settings.steps - self.progress.step
        self._saved_at = time.monotonic()

    def stop(self) -> None:
        """Stop after the current step; may be called from a signal handler."""
        self._stop_wanted = True
        self._stop_agreed = self.ranks.count == 1

    def __iter__(self) -> Iterator[Record]:
        """Yield a record of each step and each evaluation; at the end, `outcome` says why the run ended.

        A run that is stopped before any step was evaluated leaves its newest weights in place of the best.

        Raises:
            Error: the loss became infinite or NaN, or another process ended.
            OSError: a checkpoint cannot be written; the previous one is whole.
        """
        if self.ranks.is_first:
            self.folder.restore_best()
            self._log.keep_until(self.progress.step, self.progress.evaluated_step)
        self._follow_clock()
        while self.outcome is None:
            if self._evaluation_is_due():
                start = time.monotonic()
                record = self._evaluate()
                self._save()
                self.pace.add_evaluation(time.monotonic() - start)
                yield record
            self.outcome = self._why_end()
            if self.outcome is None:
                yield self._step()
        self._save()
        if self.holds_newest and self.ranks.is_first:
            self.folder.set_best_aside()
            save_weights(self.folder.weights, self.config, to_arrays(self._trainer.merged_weights()))
            self._write_card()

    @property
    def holds_newest(self) -> bool:
        """Whether the folder holds the newest weights, since a stop came before any were evaluated."""
        return self.outcome == "interrupted" and self.progress.evaluated_step <= 0 < self.progress.step

    @property
    def expected_steps(self) -> int:
        """The steps of the whole run: those planned, or as many as its time allows, about."""
        step = self.progress.step
        return step if self._time_is_up else step + self.pace.steps_left(self.settings, step)

    @property
    def opening_words(self) -> str:
        """A few words of the held-out text."""
        text = self.tokenizer.decode(self._valid[:PROMPT_TOKENS].tolist()).decode("utf-8", "replace")
        # The text may begin within a word, and a command takes a dash for an option.
        return " ".join(text.split()[1:4]).lstrip("-")

    def bits_per_byte(self, loss: float) -> float:
        """Convert a loss on the held-out text from nats per token to bits per byte."""
        lengths = np.zeros(max(self.config.vocab_size, self.tokenizer.vocab_size))
        used, counts = np.unique(self._valid[1:], return_counts=True)
        for token in used:
            # The end-of-text ids between documents stand for no bytes.
            if token != self.tokenizer.eos_id:
                lengths[token] = len(self.tokenizer.token_bytes(int(token)))
        return bits_per_byte(loss, self._valid.size - 1, int(lengths[used] @ counts))

    def _evaluation_is_due(self) -> bool:
        step, settings = self.progress.step, self.settings
        wanted = step % settings.evaluate_every == 0 or step == settings.steps or self._time_is_up
        return wanted and self.progress.evaluated_step != step

    def _why_end(self) -> Outcome | None:
        if self.settings.patience and self.progress.evaluations_since_best >= self.settings.patience:
            return "no longer improving"
        if self.progress.step >= self.settings.steps:
            return "finished"
        if self._time_is_up:
            return "out of time"
        return "interrupted" if self._stop_agreed else None

    def _step(self) -> StepRecord:
        fall = self.progress.fall
        record, self._stop_agreed = self._trainer.train_step(self._train, self._stop_wanted, fall)
        if not math.isfinite(record.loss):
            raise Error(f"The loss of step {record.step} is {record.loss}.", "Lower `learning_rate`.")
        self.progress.step = record.step
        self.pace.add_step(record.seconds)
        if fall is not None and record.step > self.settings.warmup_steps:
            self.progress.fall = fall + (1.0 - fall) / max(1, self._steps_left)
        self._follow_clock()
        if self.ranks.is_first:
            self._log.append(asdict(record))
            if time.monotonic() - self._saved_at > SAVE_SECONDS:
                self._save()
        return record

    def _evaluate(self) -> EvaluationRecord:
        progress, settings = self.progress, self.settings
        model = self._trainer.plain_model()
        loss = mean_loss(model, self._valid, settings.context, settings.micro_batch, self.ranks)
        is_best = loss < progress.best_loss
        progress.evaluated_step = progress.step
        progress.evaluations_since_best += 1
        if is_best:
            progress.best_loss, progress.best_step = loss, progress.step
            progress.evaluations_since_best = 0
        sample = ""
        if self.ranks.is_first:
            if is_best:
                save_weights(self.folder.weights, self.config, to_arrays(model.weights))
            ids = write_sample(model, self._valid, self.tokenizer.end_ids, settings.seed)
            sample = self.tokenizer.decode(ids).decode("utf-8", "replace")
        record = EvaluationRecord(
            progress.step, loss, math.exp(min(loss, 700.0)), self.bits_per_byte(loss), is_best, sample
        )
        if self.ranks.is_first:
            self._log.append(asdict(record))
        return record

    def _follow_clock(self) -> None:
        """See what the time leaves of the plan; once it is too short, the learning rate falls by the time."""
        if self.settings.minutes is None:
            return
        step = self.progress.step
        over, left = int(self.pace.is_over(self.settings)), self.pace.steps_left(self.settings, step)
        over, self._steps_left = self._of_first([over, left])
        self._time_is_up = bool(over)
        if self.progress.fall is None and self._steps_left < self.settings.steps - step:
            self._fit_time()
            self.progress.fall = planned_fall(self.settings, step)

    def _fit_time(self) -> None:
        """Adapt evaluations and warm-up to the steps that the time allows."""
        keep_interval = bool(self._options.get("request", {}).get("eval_every"))
        fitted = self.pace.fitted(self.settings, self.progress.step, keep_interval)
        interval, warmup = self._of_first([fitted.evaluate_every, fitted.warmup_steps])
        self.settings = replace(self.settings, evaluate_every=interval, warmup_steps=warmup)
        self._trainer.settings = self.settings
        if self.ranks.is_first:
            self._options["settings"] = asdict(self.settings)
            self.folder.save_options(self._options)

    def _of_first(self, numbers: list[int]) -> list[int]:
        """Return the numbers of the first process in all of them."""
        if self.ranks.count == 1:
            return numbers
        shared = torch.tensor(numbers, device=self._trainer.device)
        self.ranks.sum([shared.mul_(self.ranks.is_first)])
        return list(map(int, shared.tolist()))

    def _save(self) -> None:
        if not self.ranks.is_first:
            return
        if self.settings.minutes:
            # Resumed, the run would take one more step, before it knows that the rest is too short for one.
            used = 60.0 * self.settings.minutes if self._time_is_up else 0.0
            self.progress.seconds = max(self.pace.elapsed, used)
        weights = to_arrays(self._trainer.merged_weights())
        save_model(self.folder.last, self.config, weights, self.folder.companions())
        save_state(self.folder.state, self._trainer, self.progress)
        with whole_file(self.folder.chart) as file:
            file.write(loss_chart(self._log.read()).encode())
        self._write_card()
        self._saved_at = time.monotonic()

    def _write_card(self) -> None:
        facts, best = self._options.get("card"), self.progress
        if not facts or best.best_step < 0:
            return
        result = {"step": float(best.step)}
        if not self.holds_newest:
            bits = self.bits_per_byte(best.best_loss)
            result = {"step": best.best_step, "loss": best.best_loss, "bits_per_byte": bits}
        title = self.folder.path.resolve().name
        settings = replace(self.settings, steps=max(1, self.expected_steps))
        card = model_card(title, self.config.architecture, facts, settings, result)
        write_card(self.folder.card, card)


def _open_trainer(
    folder: RunFolder,
    config: ModelConfig,
    settings: TrainingSettings,
    ranks: Ranks,
    device: str,
    compiled: bool,
) -> Trainer:
    frozen = read_tensors(folder.frozen)
    weights = {}
    for name, shape in expected_shapes(config).items():
        if settings.freezes(name) and (name not in frozen or frozen[name].shape != shape):
            raise folder.damaged(folder.frozen)
        weights[name] = (frozen[name] if settings.freezes(name) else torch.zeros(shape)).to(device)
    return Trainer(config, weights, settings, ranks, compiled)
