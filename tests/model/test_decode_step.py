"""A step of static shapes, against reading the same text at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from backends import needs_cuda
from checkpoints import load_checkpoint
from families import FAMILIES, save_family

from gpt2cli.model.decode_step import DecodeStep, StepRow
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_memory import KVMemory
from gpt2cli.model.model import Model

IDS = [5, 17, 99, 3, 8, 1, 2, 64, 30, 31, 90, 12]
DEVICES = ["cpu", pytest.param("cuda", marks=(pytest.mark.cuda, needs_cuda))]


def open_step(model: Model[Any], slots: int, slot: int = 16) -> DecodeStep:
    memory = KVMemory(model.config, model.ops, slots * slot, slot)
    assert [memory.claim(1) for _ in range(slots)] == [number * slot for number in range(slots)]
    return DecodeStep(model, memory)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_of_each_family_give_the_logits_of_one_pass(tmp_path: Path, family: str, device: str) -> None:
    save_family(tmp_path, family)
    model = load_checkpoint(tmp_path, "torch", device)
    expected = model.ops.to_numpy(logits(model, hidden_states(model, model.ops.token_ids([IDS]))))[0]
    step = open_step(model, 5)
    for place, token in enumerate(IDS):
        # Another row, behind by one, and slots of nobody.
        rows = {0: StepRow(token, place)}
        if place:
            rows[3] = StepRow(IDS[place - 1], place - 1)
        _, scores = step.launch(rows, list(rows))
        assert scores
        found = scores.wait()
        np.testing.assert_allclose(found[0], expected[place], rtol=1e-4, atol=1e-5)
        if place:
            np.testing.assert_allclose(found[1], expected[place - 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_step_goes_on_with_the_ids_of_the_one_before(tmp_path: Path, device: str) -> None:
    save_family(tmp_path, "gpt2")
    model = load_checkpoint(tmp_path, "torch", device)
    ahead, told = open_step(model, 2), open_step(model, 2)
    newest = {0: 5, 1: 9}
    for place in range(10):
        unknown, _ = ahead.launch(
            {slot: StepRow(-1 if place else id_, place) for slot, id_ in newest.items()}
        )
        known, _ = told.launch({slot: StepRow(id_, place) for slot, id_ in newest.items()})
        newest = dict(enumerate(known.wait().tolist()))
        assert unknown.wait().tolist() == list(newest.values())


@pytest.mark.cuda
@needs_cuda
def test_a_step_is_captured_when_its_shapes_come_again(tmp_path: Path) -> None:
    save_family(tmp_path, "gpt2")
    model = load_checkpoint(tmp_path, "torch", "cuda")
    step = open_step(model, 4)
    for place in range(8):
        for slot in range(4):
            step.launch({slot: StepRow(5, place)})
    assert {key for key, _ in step._run._captured.items()} == {(1, 16, 1), (2, 16, 1), (4, 16, 1)}
    torch.cuda.synchronize()
