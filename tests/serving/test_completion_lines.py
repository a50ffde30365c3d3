"""Lines of prompts: each is answered as if it were alone, whatever is around it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from backends import CPU_DEFAULT
from checkpoints import save_model_folder
from line_feeds import json_lines, run_lines

from gpt2cli.generation.completion import Completion
from gpt2cli.generation.continuation import Continuation
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.model.loading import LoadedModel, load
from gpt2cli.ops.compute import Compute
from gpt2cli.serving.completion_lines import CompletionLines
from gpt2cli.serving.protocol import parse_request
from gpt2cli.serving.shard import Shard

CONTEXT = 48
DEFAULTS = SampleSettings(max_tokens=6, batch_size=4)
LINES: list[dict[str, Any]] = [
    {"prompt": "Once upon a time", "id": "a"},
    {"prompt": "Once upon a time", "id": 7, "temperature": 0, "max_tokens": 11},
    {"prompt": [5, 17, 99, 3], "seed": 3, "logprobs": 2},
    {"prompt": "x", "num_samples": 3, "max_tokens": 2},
    {"unconditional": True, "id": "b", "top_k": 0, "top_p": 1.0, "temperature": 2.0},
    {"prompt": "The " * 60, "truncate": "left", "max_tokens": 9},
    {"prompt": "Once", "max_tokens": 0},
    {"prompt": "A", "best_of": 4, "num_samples": 2, "max_tokens": 5},
    {"prompt": "The cat", "overflow": "slide", "max_tokens": 60},
    {"prompt": "The cat", "repetition_penalty": 1.3, "bias": {" a": 2.0}, "ban": [" the"], "echo": True},
    {"prompt": "It is so", "stop": ["e"], "max_tokens": 30, "seed": 1},
    {"prompt": "It is so", "speculate": True},
]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("lines")
    save_model_folder(folder, n_positions=CONTEXT)
    return load(str(folder), Compute(backend=CPU_DEFAULT, threads=1), for_decoding=True)


def answers(
    loaded: LoadedModel, lines: Any, settings: SampleSettings = DEFAULTS, **options: Any
) -> list[dict[str, Any]]:
    return run_lines(CompletionLines(loaded, settings, 5), lines, **options)


def test_an_answer_is_what_the_same_request_gets_alone(loaded: LoadedModel) -> None:
    found = answers(loaded, json_lines(LINES))
    assert [answer["line"] for answer in found] == list(range(1, len(LINES) + 1))
    for line, answer in zip(LINES, found, strict=True):
        if "speculate" in line:
            assert answer["error"]["param"] == "speculate"
            continue
        fields = {name: value for name, value in line.items() if name != "id"}
        request = parse_request(fields | {"seed": answer["seed"]}, DEFAULTS)
        settings = request.settings
        alone = Continuation(loaded, request.prompt, settings, settings.num_samples).results()
        before = request.prompt if request.echo else ""
        assert [choice["text"] for choice in answer["choices"]] == [f"{before}{one.text}" for one in alone]
        assert [choice["token_ids"] for choice in answer["choices"]] == [list(one.token_ids) for one in alone]
        assert [choice["logprobs"] for choice in answer["choices"]] == [one.logprobs for one in alone]
        assert [choice["finish_reason"] for choice in answer["choices"]] == [
            one.finish_reason for one in alone
        ]
        assert answer["prompt_truncated"] is (line.get("truncate") is not None)
        assert answer["usage"]["prompt_tokens"] == alone[0].prompt_tokens
        assert answer["id"] == line.get("id")


def test_the_end_of_a_sample_is_noted_without_looking_at_the_others(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0

    def read(completion: Completion) -> Any:
        nonlocal reads
        reads += 1
        return vars(completion)["finish_reason"]

    def write(completion: Completion, reason: Any) -> None:
        vars(completion)["finish_reason"] = reason

    monkeypatch.setattr(Completion, "finish_reason", property(read, write), raising=False)
    (answer,) = answers(loaded, json_lines([{"prompt": "x", "num_samples": 50, "max_tokens": 1}]))
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length"] * 50
    assert reads <= 3 * 50


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_neither_order_nor_batch_nor_shard_changes_an_answer(loaded: LoadedModel, rows: int) -> None:
    lines = json_lines(LINES)
    expected = {answer["line"]: answer for answer in answers(loaded, lines)}
    settings = SampleSettings(max_tokens=6, batch_size=rows)
    shuffled = random.Random(rows).sample(lines, len(lines))
    found = answers(loaded, shuffled, settings, unordered=True)
    assert {answer["line"]: answer for answer in found} == expected
    parts = [Shard(index, 3) for index in (1, 2, 3)]
    shards = [[line for line in lines if part.has(line.number)] for part in parts]
    found = [answer for shard in shards for answer in answers(loaded, shard, settings)]
    assert sorted(found, key=lambda answer: answer["line"]) == list(expected.values())


def test_a_line_with_an_id_has_the_same_text_at_any_place(loaded: LoadedModel) -> None:
    line = {"prompt": "Once", "id": "a", "temperature": 2.0}
    first, second, without, moved = answers(
        loaded, json_lines([line, line, line | {"id": None}, line | {"id": None}])
    )
    assert first["choices"] == second["choices"]
    assert len({first["seed"], without["seed"], moved["seed"]}) == 3
    other = run_lines(CompletionLines(loaded, DEFAULTS, 6), json_lines([line]))[0]
    assert other["seed"] != first["seed"]


def test_a_bad_line_gets_an_error_and_the_others_their_answers(loaded: LoadedModel) -> None:
    lines = json_lines([{"prompt": "Once"}, {"prompt": "The " * 60}, {"prompt": [999]}, {"prompt": "x"}])
    good, long, unknown, last = answers(loaded, [lines[0], lines[1]._replace(number=2), *lines[2:]])
    assert good["choices"][0]["text"]
    assert last["choices"][0]["text"]
    assert long["error"]["code"] == "context_length_exceeded"
    assert "tokens and the model's context holds 48" in long["error"]["message"]
    assert unknown["error"] == {
        "message": "prompt has the id 999, but the last is 319.",
        "type": "invalid_request_error",
        "param": "prompt",
        "code": "invalid_value",
    }


def test_a_line_that_fails_while_it_is_made_fails_alone(loaded: LoadedModel) -> None:
    # After every token was used once, none is left.
    hopeless = {"prompt": "x", "no_repeat_ngram": 1, "max_tokens": 400, "overflow": "slide"}
    hopeless |= {"ignore_eos": True, "num_samples": 2}
    lines = json_lines([{"prompt": "Once", "max_tokens": 40}, hopeless, {"prompt": "Once", "id": "z"}])
    found = answers(loaded, lines)
    assert found[1]["error"]["type"] == "server_error"
    assert "Every token is banned" in found[1]["error"]["message"]
    assert found[0] == answers(loaded, lines[:1])[0]
    assert found[2] == answers(loaded, lines[2:])[0]


def test_a_stream_comes_in_pieces_before_its_answer(loaded: LoadedModel) -> None:
    lines = json_lines([{"prompt": "Once"}, {"prompt": "The", "num_samples": 2, "stream": True, "id": "s"}])
    first, *deltas, last = answers(loaded, lines)
    assert (first["line"], last["line"]) == (1, 2)
    assert {entry["index"] for entry in deltas} == {0, 1}
    for choice in last["choices"]:
        pieces = [entry["delta"] for entry in deltas if entry["index"] == choice["index"]]
        assert "".join(pieces) == choice["text"]
        assert len(pieces) > 1
    assert all(entry.keys() == {"v", "line", "id", "index", "delta"} for entry in deltas)
    plain = answers(loaded, json_lines([{"prompt": "The", "num_samples": 2, "id": "s"}]))[0]
    assert plain["choices"] == last["choices"]


def test_a_field_holds_the_prompt_and_the_others_are_carried_over(loaded: LoadedModel) -> None:
    row = {"question": "Once", "temperature": "hot", "id": "q1", "nested": {"a": [1]}}
    worker = CompletionLines(loaded, DEFAULTS, 5, field="question")
    answer, missing = run_lines(worker, json_lines([row, {"id": 2}]))
    assert answer["fields"] == {"temperature": "hot", "nested": {"a": [1]}}
    assert answer["id"] == "q1"
    assert answer["choices"] == answers(loaded, json_lines([{"prompt": "Once", "id": "q1"}]))[0]["choices"]
    assert missing["error"]["param"] == "question"
