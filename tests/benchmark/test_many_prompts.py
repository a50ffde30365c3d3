"""Many prompts: what they are, how a server is asked for them, and which size of a batch is the best."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

import pytest
from checkpoints import save_model_folder
from servers import Running, running

from gpt2cli.benchmark.many import worker
from gpt2cli.benchmark.many.clients import Address, Clients, request
from gpt2cli.benchmark.many.prompts import (
    KINDS,
    LEAST,
    LONGEST,
    MOST,
    SHARED,
    Prompt,
    read_prompts,
    write_prompts,
)
from gpt2cli.benchmark.many.rates import best_rate, token_rate
from gpt2cli.benchmark.many.server import gap_ratio, served_rate, serving
from gpt2cli.benchmark.measurements import EXTRAS
from gpt2cli.benchmark.peers.processes_worker import measure, sample
from gpt2cli.benchmark.settings import SpeedSettings
from gpt2cli.benchmark.speed import measure_speed
from gpt2cli.benchmark.workload import fit_workload
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.cli.command_lines import own_programs
from gpt2cli.errors import Error
from gpt2cli.hub.reporter import Reporter
from gpt2cli.model.loading import LoadedModel, load
from gpt2cli.ops.compute import Compute

COMPUTE = Compute(backend="numpy", threads=1)
COUNT, NEW = 3, 24


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("many")
    save_model_folder(folder, n_positions=64, n_layer=1)
    return load(str(folder), COMPUTE, offline=True)


@pytest.fixture(scope="module")
def prompts(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("prompts") / "prompts.json"
    write_prompts(file, loaded.tokenizer, KINDS, COUNT, 64 - NEW)
    return file


@pytest.fixture(scope="module")
def server(loaded: LoadedModel) -> Iterator[Running]:
    with running(loaded) as found:
        yield found


def alike(prompts: Sequence[Prompt]) -> int:
    """Return how many first ids all prompts share."""
    columns = zip(*(prompt.ids for prompt in prompts), strict=False)
    return len(list(takewhile(lambda ids: len(set(ids)) == 1, columns)))


def test_prompts_are_as_long_as_they_are_said_to_be_and_share_what_they_should(tmp_path: Path) -> None:
    tokenizer, file = load("stories", COMPUTE).tokenizer, tmp_path / "prompts.json"
    write_prompts(file, tokenizer, KINDS, 40, 1000)
    mixed, shared, unshared = (read_prompts(str(file), kind) for kind in KINDS)
    lengths = [len(prompt.ids) for prompt in mixed]
    assert LEAST <= min(lengths) < 50 < 150 < max(lengths) <= MOST
    assert {len(prompt.ids) for prompt in (*shared, *unshared)} == {LONGEST}
    assert SHARED <= alike(shared) < LONGEST
    assert alike(unshared) == 0
    assert all(tokenizer.encode(prompt.text) == prompt.ids for prompt in (*mixed, *shared, *unshared))


@pytest.mark.parametrize("room", [1, 3, 24])
def test_prompts_fit_a_short_context(loaded: LoadedModel, tmp_path: Path, room: int) -> None:
    file = tmp_path / "prompts.json"
    write_prompts(file, loaded.tokenizer, KINDS, COUNT, room)
    for kind in KINDS:
        assert all(1 <= len(prompt.ids) <= room for prompt in read_prompts(str(file), kind))


def test_a_rate_is_of_as_many_tokens_as_were_asked_for() -> None:
    assert token_rate(48, 48, 2.0) == 24.0
    with pytest.raises(Error, match="it made 47 tokens in place of 48"):
        token_rate(47, 48, 2.0)


@pytest.mark.parametrize(("count", "calls"), [(100, [100, 100, 100]), (900, [192, 192, 192, 900])])
def test_the_best_size_of_a_batch_counts(count: int, calls: list[int]) -> None:
    found: list[int] = []

    def rate(prompts: Sequence[Prompt], size: int) -> float:
        found.append(len(prompts))
        assert len(set(map(id, prompts))) == len(prompts)
        return {8: 20.0, 16: 30.0, 32: 10.0}[size]

    prompts = [Prompt("", [0] * (1 + number * 7 % count)) for number in range(count)]
    assert best_rate(prompts, (8, 16, 32), rate) == 30.0
    assert found == calls


def test_a_sample_of_prompts_is_as_long_as_all_of_them() -> None:
    prompts = [Prompt("", [0] * length) for length in range(1, 2001)]
    lengths = [len(prompt.ids) for prompt in sample(prompts)]
    assert len(set(lengths)) == 32
    assert sum(lengths) / 32 == pytest.approx(1000.5, rel=0.01)
    assert len(sample(prompts[:7])) == 7


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_is_asked_for_each_prompt_once(server: Running, prompts: Path, stream: bool) -> None:
    before = server.metric("gpt2_completion_tokens_total")
    asked = read_prompts(str(prompts), "prompts")
    assert served_rate(Address(server.host, server.port), asked, NEW, 2, stream=stream) > 0
    # And once before, for what happens only once.
    assert server.metric("gpt2_completion_tokens_total") - before == (len(asked) + 1) * NEW


def test_the_events_of_a_stream_have_their_times(server: Running) -> None:
    address = Address(server.host, server.port)
    body = {"prompt": [5, 6], "max_tokens": NEW, "temperature": 0, "stream": True}
    load = Clients(address)
    reply = load.ask(request(address, body))
    complete = []
    while load.waiting:
        complete += load.receive()
    assert complete == [reply]
    events = reply.events()
    assert events[-1].value["choices"][0]["finish_reason"] == "length"
    times = [event.time for event in events]
    assert times == sorted(times)
    assert 1 <= reply.events_so_far <= len(events) + 1


def test_a_refused_request_is_an_error(server: Running) -> None:
    address = Address(server.host, server.port)
    load = Clients(address)
    reply = load.ask(request(address, {"prompt": [99999]}))
    while load.waiting:
        load.receive()
    with pytest.raises(Error, match=r"answers 400: .*99999"):
        reply.events()


def test_gaps_while_a_prompt_joins_are_compared_with_the_others() -> None:
    # Each second, but from 4 to 10 every three; before 1 and after 12 not all streams have tokens.
    one = [0.0, 1.0, 2.0, 3.0, 4.0, 7.0, 10.0, 11.0, 12.0]
    other = [1.0, 2.0, 3.0, 4.0, 7.0, 10.0, 11.0, 12.0, 40.0]
    assert gap_ratio([one, other], 4.5, 9.0) == 3.0
    with pytest.raises(Error, match="no token"):
        gap_ratio([one, other], 50.0, 60.0)


def test_a_server_that_does_not_start_ends_the_measure() -> None:
    with pytest.raises(SystemExit), serving([sys.executable, "-c", "raise SystemExit(2)"]):
        pass


@pytest.mark.slow
def test_the_programs_of_this_package_are_measured(loaded: LoadedModel, prompts: Path) -> None:
    workload = fit_workload(ModelConfig(n_positions=64), 20, 40, 2, COUNT, 2)
    programs = own_programs(loaded.files.name, COMPUTE)
    task = {
        "prompts": str(prompts),
        "workload": vars(workload),
        "lines": programs.lines(2),
        "serve": programs.serve(2),
    }
    found = worker.measure({**task, "measures": ["jsonl", "server"]})
    assert list(found) == ["jsonl", "server"]
    assert all(value > 0 for value in found.values())
    alone = measure({"prompts": str(prompts), "tokens": NEW, "complete": programs.complete(NEW)})
    # Each pays for a start.
    assert 0 < alone["prompts"] < found["jsonl"]


def test_a_measure_whose_library_is_missing_is_left_out(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, "ray", ("no_such_library",))
    notes: list[str] = []

    class Notes(Reporter):
        def note(self, message: str) -> None:
            notes.append(message)

    settings = SpeedSettings(only=["cluster"], prompts=2, rounds=1)
    name = loaded.files.name
    report = measure_speed(
        name, loaded, COMPUTE, settings, lambda compute: own_programs(name, compute), Notes()
    )
    reason = "no_such_library cannot be imported. Run pip install 'gpt2cli[ray]'."
    assert (report["left_out"], report["engines"][0]["measures"]) == ({"cluster": reason}, {})
    assert notes == [f"cluster is left out: {reason}"]
    assert json.dumps(report)
