"""What requests wait for, and what they leave behind, in counts of steps, rows and positions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from backends import CPU_DEFAULT
from checkpoints import save_model_folder
from servers import running

import gpt2cli
from gpt2cli.generation.engine import SHORTEST_CHUNK, Engine
from gpt2cli.language_model import LanguageModel
from gpt2cli.scoring import continuations, predictions
from gpt2cli.scoring.scored_text import Text
from gpt2cli.scoring.settings import NextSettings
from gpt2cli.scoring.windows import Scheme
from gpt2cli.serving.engine_owner import EngineOwner
from gpt2cli.serving.http.commands import candidates, scores
from gpt2cli.serving.http.completions.choices import begin, read_work
from gpt2cli.serving.http.completions.fields import parse_body
from gpt2cli.serving.http.tickets import Failure, Tickets

CONTEXT, ROWS = 256, 4
LONG = "Once upon a time " * 12
ENDLESS = {"prompt": "Once", "max_tokens": 250, "ignore_eos": True, "seed": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder: Path = tmp_path_factory.mktemp("model")
    save_model_folder(folder, n_positions=CONTEXT)
    return gpt2cli.load(str(folder), threads=1, backend=CPU_DEFAULT)


class Owned:
    """An engine with its owner, and what it posts."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.engine: Any = None
        self.owner = EngineOwner(self._open)
        self.posted: list[Any] = []

    def _open(self) -> Engine[Any]:
        engine = Engine(self.model.model, rows=ROWS)
        self.engine = engine
        return engine

    def tickets(self) -> Tickets:
        return Tickets(self.owner, self.posted.append)

    def complete(self, **fields: Any) -> Tickets:
        """Begin with a request for completions, and return its tickets."""
        tickets = self.tickets()
        begin(self.model, read_work(self.model, parse_body(fields)), tickets)
        return tickets

    @property
    def left(self) -> tuple[int, int]:
        """How many requests the engine has, and how many positions they have claimed."""
        texts, memory = self.engine._texts, self.engine._memory
        kept = sum(text.capacity for text in texts._kept)
        claimed = memory.positions - memory.free_positions - kept
        return len(self.engine._rows) + len(self.engine._queue), claimed


@pytest.fixture
def owned(model: LanguageModel) -> Owned:
    return Owned(model)


def test_what_is_dropped_is_free_before_the_next_step(owned: Owned) -> None:
    kept = owned.complete(**ENDLESS)
    owned.owner.step()
    alone = owned.left
    assert alone[0] == 1
    # More than there are rows, so that some wait, and one whose prompt is not read yet.
    dropped = [owned.complete(**ENDLESS, n=ROWS), owned.complete(prompt=LONG, max_tokens=9)]
    for steps in range(4):
        for _ in range(steps):
            owned.owner.step()
        assert owned.left[0] > 1
        for tickets in dropped:
            tickets.cancel()
        assert owned.left == alone
        dropped = [owned.complete(**ENDLESS, n=ROWS)]
    kept.cancel()
    dropped[0].cancel()
    assert owned.left == (0, 0)
    assert not owned.owner


def test_a_stop_string_frees_its_sample_in_the_step_that_finds_it(owned: Owned, model: LanguageModel) -> None:
    text = model.generate("Once", max_tokens=30, seed=1, temperature=1, top_k=0, top_p=1).text
    owned.complete(**{**ENDLESS, "stop": [text[10:14]]})
    steps = 0
    while not any(update.finish_reason for update in owned.posted):
        owned.owner.step()
        steps += 1
    assert owned.posted[-1].finish_reason == "stop"
    assert steps == sum(update.tokens for update in owned.posted)
    assert owned.left == (0, 0)


def test_a_client_that_goes_away_costs_no_more_than_the_step_that_is_being_made(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[None] = []
    calls: list[tuple[list[int], int]] = []
    own = Engine.step

    def step(engine: Engine[Any]) -> Any:
        steps.append(None)
        return own(engine)

    monkeypatch.setattr(Engine, "step", step)
    with running(model) as server:
        worker = server.service.worker
        call = worker.call

        def counted(function: Callable[[], object]) -> None:
            begun: list[int] = []

            def counting() -> None:
                begun.append(len(steps))
                function()

            call(counting)
            calls.append((begun, len(steps)))

        monkeypatch.setattr(worker, "call", counted)
        data = json.dumps({**ENDLESS, "max_tokens": 10**9, "stream": True}).encode()
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with server.connect() as connection:
            connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            assert connection.recv(12) == b"HTTP/1.1 200"
        while server.metric("gpt2_samples"):
            pass
        left: list[int] = []
        call(lambda: left.append(len(worker.owner)))
        while not left:
            pass
        assert left == [0]
        # One call began it, and one dropped it.
        assert len(calls) == 2
    assert all(begun[0] - asked <= 1 for begun, asked in calls)


@pytest.mark.parametrize("kind", ["score", "next", "candidates", "echo"])
def test_a_long_text_is_read_in_parts_while_tokens_are_made(
    owned: Owned, model: LanguageModel, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    for module in (predictions, continuations):
        own = module.logits

        def counted(model: Any, hidden: Any, *top: Any, own: Any = own) -> Any:
            passes.append(hidden.size // hidden.shape[-1])
            return own(model, hidden, *top)

        monkeypatch.setattr(module, "logits", counted)
    stream = owned.complete(**ENDLESS)
    updates = owned.posted
    owned.owner.step()
    owned.posted = []
    tickets = owned.tickets()
    if kind == "echo":
        owned.complete(prompt=LONG, echo=True, logprobs=0, max_tokens=0)
    elif kind == "score":
        scores._begin(model, scores._read(model, {}, [Text(LONG)]), False, tickets)
    else:
        asked = [LONG[:60], " a", " the"] if kind == "candidates" else []
        candidates._begin(model, LONG, NextSettings(candidates=asked), tickets)
    made: list[int] = []
    while not owned.posted:
        owned.owner.step()
        made.append(sum(update.tokens for update in updates))
    stream.cancel()
    assert not any(isinstance(told, Failure) for told in owned.posted)
    assert len(made) > len(model.tokenizer.encode(LONG)) // SHORTEST_CHUNK
    assert all(count <= SHORTEST_CHUNK for count in passes)
    # Tokens of the other came all the while; some end within a character.
    assert len(set(made)) > len(made) // 2


def test_parts_of_any_size_have_the_numbers_of_the_whole(model: LanguageModel) -> None:
    texts = [model.tokenizer.encode(text) for text in (LONG, "", "a", "Once 🙂", LONG * 3)]
    keyed = [(number, [ids]) for number, ids in enumerate(texts)]
    scheme = Scheme(model.tokenizer.bos_id, 64, 20)
    whole = list(predictions.score_texts(model.model, iter(keyed), scheme, 300))
    for size in (1, 7, 32, 1000):
        at_once = partial(int, size)
        found: Iterator[Any] = predictions.score_in_parts(model.model, iter(keyed), scheme, 300, at_once)
        parts = [entry for entry in found if entry]
        assert [key for key, _ in parts] == [key for key, _ in whole]
        for (_, part), (_, expected) in zip(parts, whole, strict=True):
            for name, value in vars(expected).items():
                assert pytest.approx(value, rel=1e-5, nan_ok=True) == getattr(part, name)
