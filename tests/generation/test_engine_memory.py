"""The engine's memory: what prompts share, what is kept, and how much it takes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from backends import needs_kernels
from checkpoints import load_checkpoint, save_checkpoint
from engines import Answer, alone, answers, random_answers
from samplers import SamplerSettings

from gpt2cli.errors import UsageError
from gpt2cli.generation.engine import CHUNK_FOR_A_ROW, SHORTEST_CHUNK, Engine
from gpt2cli.generation.requests import GenerationSettings, Request
from gpt2cli.generation.texts import SHORTEST_SHARED
from gpt2cli.model.kv_memory import position_bytes
from gpt2cli.model.model import Model

CONTEXT = 160
LOOSE = SamplerSettings(temperature=1.0, top_k=0, top_p=1.0)
BEGINNING = [(7 * place) % 100 + 1 for place in range(60)]
Passes = list[tuple[int, int]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    save_checkpoint(folder, n_positions=CONTEXT)
    return folder


@pytest.fixture(scope="module", params=["numpy", "torch", pytest.param("compiled", marks=needs_kernels)])
def model(checkpoint: Path, request: pytest.FixtureRequest) -> Model[Any]:
    return load_checkpoint(checkpoint, request.param)


def request(ids: Sequence[int], seed: int = 0, sample: int = 0, **settings: Any) -> Request:
    return Request(ids, LOOSE.sampler(seed), GenerationSettings(**{"max_tokens": 5, **settings}), sample)


def bytes_of(model: Model[Any], positions: int) -> int:
    return positions * position_bytes(model.config, model.ops)


def test_prompts_that_begin_alike_read_their_beginning_once(model: Model[Any], passes: Passes) -> None:
    entries = [request([*BEGINNING, number, 3], number) for number in range(1, 7)]
    expected = [alone(model, entry).ids for entry in entries]
    engine = Engine(model, rows=4)
    tickets = [engine.submit(entry) for entry in entries]
    passes.clear()
    found = answers(engine)
    assert [found[ticket].ids for ticket in tickets] == expected
    # Each reads the two of its own, and all its tokens but the last.
    assert sum(time for _, time in passes) == len(BEGINNING) + len(entries) * (2 + 4)


def test_a_beginning_is_found_after_its_request_has_ended(model: Model[Any], passes: Passes) -> None:
    engine = Engine(model, rows=1)
    (first,) = (engine.submit(request(BEGINNING, max_tokens=9)) for _ in range(1))
    # The last chosen token was never read.
    whole = [*BEGINNING, *answers(engine)[first].ids]
    for ids, read in ((whole, 1), ([*whole[:-3], 99, 98], 2), (BEGINNING, 1), ([9, *BEGINNING], 61)):
        passes.clear()
        engine.submit(request(ids, max_tokens=1))
        answers(engine)
        assert sum(time for _, time in passes) == read


def test_no_more_memory_is_kept_than_was_asked_for(model: Model[Any], passes: Passes) -> None:
    engine = Engine(model, rows=2, kept=1)
    for number in range(3):
        engine.submit(request([number, *BEGINNING]))
        answers(engine)
    length = 1 + len(BEGINNING) + 4
    assert engine._memory.positions - engine._memory.free_positions == length
    passes.clear()
    engine.submit(request([0, *BEGINNING]))
    engine.submit(request([2, *BEGINNING]))
    answers(engine)
    # The last is kept, but for the logits of its prompt's last id; the first is read again.
    assert sum(time for _, time in passes) == 2 * 4 + 1 + 1 + len(BEGINNING)


def test_samples_of_one_prompt_read_it_once(model: Model[Any], passes: Passes) -> None:
    engine = Engine(model, rows=5)
    for sample in range(5):
        engine.submit(request([5, 17, 99], sample=sample))
    answers(engine)
    assert passes == [(1, 3)] + [(1, 5)] * 4


def test_a_long_prompt_joins_in_parts_while_the_others_go_on(model: Model[Any], passes: Passes) -> None:
    engine = Engine(model, rows=3)
    talking = [engine.submit(request([5, 9], seed, max_tokens=60)) for seed in range(2)]
    engine.step()
    long = engine.submit(request([*range(1, 101), *range(1, 51)], max_tokens=2))
    passes.clear()
    steps = 0
    while long not in (tickets := {event.ticket for event in engine.step() if event.token}):
        steps += 1
        assert tickets == set(talking)
    assert max(time for _, time in passes) == max(SHORTEST_CHUNK, 2 * CHUNK_FOR_A_ROW) + 2
    assert steps == 150 // SHORTEST_CHUNK


def test_rows_that_end_find_the_next_prompt_read(model: Model[Any]) -> None:
    choice, rows, new = random.Random(0), 12, 24
    engine = Engine(model, rows=rows)
    for seed in range(3 * rows):
        engine.submit(request(choice.choices(range(1, 100), k=100), seed, max_tokens=new))
    made: list[int] = []
    while not engine.idle:
        made.append(sum(event.token is not None for event in engine.step()))
    assert sum(made) == 3 * rows * new
    # At the beginning and at the end some rows are empty; else hardly any.
    assert len(made) <= 4 * new


@pytest.mark.slow
def test_requests_wait_for_memory_and_get_all_of_it(model: Model[Any]) -> None:
    entries = [request([*BEGINNING[: 3 * seed], seed], seed, max_tokens=30) for seed in range(1, 12)]
    expected = [alone(model, entry).ids for entry in entries]
    for rows in (1, 4):
        # Not two of the longest.
        engine = Engine(model, rows=rows, kv_memory=bytes_of(model, 100))
        tickets = [engine.submit(entry) for entry in entries]
        found = answers(engine)
        assert [found[ticket].ids for ticket in tickets] == expected, rows


def test_a_request_that_can_never_fit_is_refused_with_both_counts(model: Model[Any]) -> None:
    engine = Engine(model, kv_memory=bytes_of(model, 20) + 1)
    with pytest.raises(UsageError, match=r"may take 21 positions; `kv_memory` has room for 20"):
        engine.submit(request([1] * 12, max_tokens=10))
    ticket = engine.submit(request([1] * 12, max_tokens=9))
    assert len(answers(engine)[ticket].ids) == 9


def test_a_cancelled_request_leaves_its_memory_to_the_next(model: Model[Any]) -> None:
    engine = Engine(model, rows=2, kv_memory=bytes_of(model, 40))
    first = engine.submit(request(BEGINNING[:10], max_tokens=31))
    second = engine.submit(request([50] * 20, max_tokens=3))
    assert {event.ticket for event in engine.step()} == {first}
    engine.cancel(first)
    assert {event.ticket for event in engine.step()} == {second}


def any_request(choice: random.Random, texts: Sequence[Sequence[int]]) -> Request:
    """Return a request that begins as one of some texts does."""
    base = choice.choice(texts)
    own = choice.choices(range(1, 9), k=choice.randint(0, 30))
    ids = [*base[: choice.randint(1, len(base))], *own][: CONTEXT - 5]
    settings = {"slide": choice.random() < 0.3, "speculate": choice.random() < 0.3, "logprobs": 3}
    return request(ids, choice.randint(0, 9), max_tokens=choice.randint(1, 40), **settings)


def check_prefix(model: Model[Any], answer: Answer, expected: Answer) -> None:
    """Assert that an answer is as much of another as there was time for, bit for bit on the kernels."""
    count = len(answer.ids)
    assert answer.ids == expected.ids[:count]
    assert answer.finish_reason != "length" or count == len(expected.ids)
    if model.ops.name == "compiled":
        assert answer.tokens == expected.tokens[:count]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_every_request_is_answered_as_if_it_were_alone(model: Model[Any], seed: int) -> None:
    """Submit, cancel and stop at random places, with little memory and prompts that share much."""
    choice = random.Random(seed)
    memory = bytes_of(model, choice.choice([200, 300, 900]))
    engine = Engine(model, rows=choice.randint(1, 5), kv_memory=memory)
    for entry, answer in random_answers(engine, choice, BEGINNING, any_request):
        check_prefix(model, answer, alone(model, entry))
    # What is kept makes room, so nothing is lost.
    for text in list(engine._texts._kept):
        engine._texts._drop(text)
    assert engine._memory.free_positions == engine._memory.positions
    assert not engine._texts._by_beginning


def test_few_ids_in_common_are_read_again(model: Model[Any], passes: Passes) -> None:
    engine = Engine(model, rows=1)
    for ids in (BEGINNING, [*BEGINNING[: SHORTEST_SHARED - 1], 99]):
        passes.clear()
        engine.submit(request(ids, max_tokens=1))
        answers(engine)
    assert passes == [(1, SHORTEST_SHARED)]
