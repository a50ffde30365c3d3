"""The engine, against the same requests alone and against transformers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from backends import needs_kernels
from checkpoints import TINY, load_checkpoint, save_checkpoint
from engines import Answer, answers
from samplers import SamplerSettings
from work import bytes_copied

from gpt2cli.generation.engine import Engine
from gpt2cli.generation.requests import GenerationSettings, Request
from gpt2cli.generation.sampling import SequenceBias
from gpt2cli.model.model import Model

CONTEXT = 48
GREEDY = SamplerSettings(temperature=0.0)
LOOSE = SamplerSettings(temperature=1.0, top_k=0, top_p=1.0)
PROMPTS = [[5], [17, 99, 3], list(range(1, 41)), [8] * 13, list(range(50, 79)), [1, 2], [9] * CONTEXT]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("engine")
    return folder, save_checkpoint(folder)


@pytest.fixture(scope="module", params=["numpy", "torch", pytest.param("compiled", marks=needs_kernels)])
def model(checkpoint: tuple[Path, Any], request: pytest.FixtureRequest) -> Model[Any]:
    return load_checkpoint(checkpoint[0], request.param)


def request(
    ids: Sequence[int], sampling: SamplerSettings = LOOSE, seed: int = 3, sample: int = 0, **settings: Any
) -> Request:
    return Request(ids, sampling.sampler(seed), GenerationSettings(**settings), sample)


def requests(**settings: Any) -> list[Request]:
    """Return requests that differ in everything."""
    return [
        request(
            ids, LOOSE if seed % 2 else SamplerSettings(), seed, **{"max_tokens": 5 + 7 * seed, **settings}
        )
        for seed, ids in enumerate(PROMPTS)
    ]


def alone(model: Model[Any], entry: Request) -> Answer:
    engine = Engine(model, rows=1)
    ticket = engine.submit(entry)
    return answers(engine)[ticket]


def outcome(answer: Answer) -> tuple[list[int], str | None]:
    return answer.ids, answer.finish_reason


def test_greedy_ids_equal_those_of_transformers(model: Model[Any], checkpoint: tuple[Path, Any]) -> None:
    engine = Engine(model, rows=3)
    prompts = {engine.submit(request(ids, GREEDY, max_tokens=7)): ids for ids in PROMPTS[:-1]}
    for ticket, answer in answers(engine).items():
        expected = checkpoint[1].generate(
            torch.tensor([prompts[ticket]]),
            max_new_tokens=7,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
        assert answer.ids == expected[0, len(prompts[ticket]) :].tolist()
        assert answer.finish_reason == "length"


@pytest.mark.parametrize("slide", [False, True])
def test_a_request_is_answered_as_if_it_were_alone(model: Model[Any], slide: bool) -> None:
    expected = [outcome(alone(model, entry)) for entry in requests(slide=slide)]
    for rows in (1, 2, 3, 8):
        engine = Engine(model, rows=rows)
        tickets = [engine.submit(entry) for entry in requests(slide=slide)]
        found = answers(engine)
        assert [outcome(found[ticket]) for ticket in tickets] == expected, rows


def test_rows_join_a_running_batch_and_leave_it(model: Model[Any]) -> None:
    engine = Engine(model, rows=3)
    entries = requests()
    tickets = [engine.submit(entry) for entry in entries[:2]]

    def join(*_: object) -> None:
        if len(tickets) < len(entries):
            tickets.append(engine.submit(entries[len(tickets)]))

    found = answers(engine, join)
    assert [outcome(found[ticket]) for ticket in tickets] == [
        outcome(alone(model, entry)) for entry in entries
    ]


def test_no_more_rows_run_than_there_are(model: Model[Any]) -> None:
    engine = Engine(model, rows=2)
    for _ in range(5):
        engine.submit(request([5, 17], max_tokens=3))
    seen = []
    while not engine.idle:
        seen.append(len([event for event in engine.step() if event.token]))
    assert max(seen) == 2
    assert sum(seen) == 15


def test_a_cancelled_request_is_gone_and_its_row_is_free_for_the_next_step(model: Model[Any]) -> None:
    engine = Engine(model, rows=1)
    first, waiting, last = (engine.submit(request(ids, max_tokens=20)) for ids in PROMPTS[:3])
    assert {event.ticket for event in engine.step()} == {first}
    engine.cancel(first)
    engine.cancel(waiting)
    engine.cancel(12345)
    assert {event.ticket for event in engine.step()} == {last}
    assert answers(engine).keys() == {last}
    engine.cancel(last)
    assert engine.idle
    assert engine.step() == []


def test_requests_that_wait_cost_a_step_nothing(model: Model[Any]) -> None:
    def copied(waiting: int) -> int:
        engine = Engine(model, rows=2)
        tickets = [engine.submit(request([5, 17], GREEDY, max_tokens=30)) for _ in range(waiting)]
        engine.step()
        ends = [partial(end, tickets[place]) for place in (-1, -9) for end in (engine.cancel, engine.stop)]
        return bytes_copied([engine.step, *ends] * 4)

    assert copied(2000) < 1.5 * copied(60)


def test_a_stopped_request_ends_while_the_others_go_on(model: Model[Any]) -> None:
    engine = Engine(model)
    tickets = [engine.submit(request(PROMPTS[0], max_tokens=20, sample=sample)) for sample in range(3)]

    def stop(event: Any, found: Any) -> None:
        if event.ticket == tickets[1] and len(found[tickets[1]].tokens) == 5:
            engine.stop(tickets[1])

    found = answers(engine, stop)
    assert [len(found[ticket].tokens) for ticket in tickets] == [20, 5, 20]
    assert [found[ticket].finish_reason for ticket in tickets] == ["length", "stop", "length"]


def test_a_request_that_waits_can_be_stopped(model: Model[Any]) -> None:
    engine = Engine(model, rows=1)
    first, second = (engine.submit(request([5], max_tokens=2)) for _ in range(2))
    engine.stop(second)
    found = answers(engine)
    assert (len(found[first].tokens), found[first].finish_reason) == (2, "length")
    assert (found[second].tokens, found[second].finish_reason) == ([], "stop")


def test_end_ids_are_each_requests_own_and_are_no_tokens(model: Model[Any]) -> None:
    endless = alone(model, request([5], max_tokens=30)).ids
    end = endless[7]
    engine = Engine(model)
    ended, other = (engine.submit(request([5], max_tokens=30, end_ids=ids)) for ids in ([end], []))
    found = answers(engine)
    assert outcome(found[ended]) == (endless[: endless.index(end)], "stop")
    assert outcome(found[other]) == (endless, "length")


def test_a_request_that_can_choose_nothing_ends_with_its_error_alone(model: Model[Any]) -> None:
    engine = Engine(model)
    bans = tuple(SequenceBias((token,), -math.inf) for token in range(TINY["vocab_size"]))
    banned = engine.submit(request([5], SamplerSettings(biases=bans)))
    other = engine.submit(request([7], max_tokens=3))
    events = engine.step()
    errors = {event.ticket: event.error.message for event in events if event.error}
    assert errors == {banned: "Every token is banned here."}
    assert len(answers(engine)[other].ids) == 2


def test_log_probabilities_come_with_the_tokens_of_who_asked(model: Model[Any]) -> None:
    engine = Engine(model)
    asked, other = (engine.submit(request([5], GREEDY, max_tokens=4, logprobs=n)) for n in (3, None))
    found = answers(engine)
    assert found[asked].ids == found[other].ids
    for token in found[asked].tokens:
        assert token.top[0] == (token.id, token.logprob)
        assert len(token.top) == 3
    assert found[other].tokens[0].logprob is None


def test_no_token_needs_no_pass(model: Model[Any], passes: list[tuple[int, int]]) -> None:
    engine = Engine(model)
    ticket = engine.submit(request([5, 6], max_tokens=0))
    assert outcome(answers(engine)[ticket]) == ([], "length")
    assert passes == []


@pytest.mark.parametrize(
    ("ids", "message"), [([], "the prompt is empty"), ([1] * 49, "49 positions do not fit")]
)
def test_a_prompt_that_cannot_be_read_is_refused(model: Model[Any], ids: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Engine(model).submit(request(ids))
    assert TINY["n_positions"] == CONTEXT
