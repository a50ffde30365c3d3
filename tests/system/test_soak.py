"""Runs that are long enough to show what grows; `make soak` makes longer ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from checkpoints import save_model_folder
from soak import lines, requests, require_flat, served, tokens, training

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_model_folder(tmp_path / "model", n_positions=32, n_embd=16, n_layer=1, n_head=2)
    return tmp_path / "model"


def test_requests_leave_nothing_in_memory(model: Path) -> None:
    require_flat("requests", list(requests(model, 10_000)))


def test_lines_leave_nothing_in_memory(model: Path) -> None:
    require_flat("lines", list(lines(model, 10_000)))


def test_clients_leave_nothing_in_a_server(model: Path) -> None:
    require_flat("served", list(served(model, 10_000)))


def test_a_text_beyond_the_context_takes_no_more_memory(model: Path) -> None:
    require_flat("tokens", list(tokens(model, 20_000)))


def test_training_takes_no_more_memory(tmp_path: Path) -> None:
    require_flat("training", list(training(tmp_path, 1.0)))
