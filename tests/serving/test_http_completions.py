"""`/v1/completions` against the library on the same model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backends import CPU_DEFAULT
from checkpoints import save_model_folder
from servers import Running, running

import gpt2cli
from gpt2cli.language_model import LanguageModel

PROMPT = "Once upon a time"
# More than one part of a prompt that is scored.
LONG = "def save_model_folder(directory: Path) -> None: return reference, café 🙂 " * 2
CONTEXT = 160


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("model")
    save_model_folder(folder, n_positions=CONTEXT)
    return gpt2cli.load(str(folder), threads=1, backend=CPU_DEFAULT)


@pytest.fixture(scope="module")
def server(model: LanguageModel) -> Iterator[Running]:
    with running(model) as found:
        yield found


def only(reply: Any) -> Any:
    (choice,) = reply.value["choices"]
    return choice


def test_a_prompt_is_continued_as_the_library_does(server: Running, model: LanguageModel) -> None:
    settings: dict[str, Any] = {"max_tokens": 12, "temperature": 0.9, "top_k": 20, "top_p": 0.9, "seed": 7}
    reply = server.complete(prompt=PROMPT, **settings)
    assert reply.status == 200
    expected = model.generate(PROMPT, **settings)
    assert only(reply) == {
        "index": 0,
        "text": expected.text,
        "logprobs": None,
        "finish_reason": expected.finish_reason,
    }
    made = len(expected.token_ids)
    read = expected.prompt_tokens
    assert reply.value["usage"] == {
        "prompt_tokens": read,
        "completion_tokens": made,
        "total_tokens": read + made,
    }
    assert reply.value["seed"] == 7


def test_the_defaults_are_those_of_openai(server: Running, model: LanguageModel) -> None:
    reply = server.complete(prompt=PROMPT, max_tokens=None)
    expected = model.generate(
        PROMPT, max_tokens=16, temperature=1, top_k=0, top_p=1, seed=reply.value["seed"]
    )
    assert only(reply)["text"] == expected.text


def test_choices_are_prompt_major_and_those_of_single_runs(server: Running, model: LanguageModel) -> None:
    prompts = [PROMPT, "The cat"]
    reply = server.complete(prompt=prompts, n=2, seed=3, max_tokens=6)
    samples = [
        sample.text
        for prompt in prompts
        for sample in model.samples(
            prompt, num_samples=2, seed=3, max_tokens=6, temperature=1, top_k=0, top_p=1
        )
    ]
    assert [choice["text"] for choice in reply.value["choices"]] == samples
    assert [choice["index"] for choice in reply.value["choices"]] == [0, 1, 2, 3]


def test_ids_are_a_prompt_too(server: Running, model: LanguageModel) -> None:
    ids = model.tokenizer.encode(PROMPT)
    texts = {
        only(server.complete(prompt=prompt, seed=1))["text"] for prompt in (PROMPT, [PROMPT], ids, [ids])
    }
    assert len(texts) == 1


def test_an_empty_prompt_starts_a_document(server: Running, model: LanguageModel) -> None:
    expected = model.generate(None, seed=1, max_tokens=5, temperature=1, top_k=0, top_p=1).text
    assert only(server.complete(prompt="", seed=1, max_tokens=5))["text"] == expected
    assert only(server.complete(seed=1, max_tokens=5))["text"] == expected


@pytest.mark.parametrize("max_tokens", [0, 1, 3])
def test_the_log_probabilities_of_a_prompt_are_those_of_scoring(
    server: Running, model: LanguageModel, max_tokens: int
) -> None:
    reply = server.complete(prompt=LONG, echo=True, logprobs=3, max_tokens=max_tokens, ignore_eos=True)
    table = only(reply)["logprobs"]
    rows: list[Any] = model.score(LONG, unit="nats", bos=False)
    assert table["token_logprobs"][0] is None is table["top_logprobs"][0]
    assert table["token_logprobs"][1 : len(rows)] == [-row.surprisal for row in rows[1:]]
    assert table["tokens"][: len(rows)] == [row.text for row in rows]
    assert table["text_offset"][: len(rows)] == [row.start for row in rows]
    assert {len(column) for column in table.values()} == {len(rows) + max_tokens}
    for row, logprob, top in list(zip(rows, table["token_logprobs"], table["top_logprobs"], strict=False))[
        1:
    ]:
        # As lm-eval tells whether a token is the likeliest.
        assert (logprob == max(top.values())) == (row.rank == 1)
        assert top[row.text] == logprob


def test_the_likeliest_tokens_are_those_of_next(server: Running, model: LanguageModel) -> None:
    ids = model.tokenizer.encode(PROMPT)
    choice = only(server.complete(prompt=ids, echo=True, logprobs=5, max_tokens=0, return_token_ids=True))
    assert choice["token_ids"] == ids
    for place in range(1, len(ids)):
        text = model.tokenizer.decode(ids[:place]).decode()
        expected = model.next(text, top=5)
        found = choice["logprobs"]["top_tokens"][place]
        assert [entry["token"] for entry in found] == [entry.text for entry in expected]
        for entry, likely in zip(found, expected, strict=True):
            assert math.exp(entry["logprob"]) == pytest.approx(likely.probability, rel=1e-5)


def test_a_chosen_end_token_is_among_the_log_probabilities(server: Running) -> None:
    reply = server.complete(prompt=[5, 6], echo=True, logprobs=1, max_tokens=1, logit_bias={"0": 100})
    choice = only(reply)
    assert choice["logprobs"]["tokens"][2] == "<|endoftext|>"
    assert choice["finish_reason"] == "stop"
    assert "<|endoftext|>" not in choice["text"]
    assert {len(column) for column in choice["logprobs"].values()} == {3}
    assert reply.value["usage"]["completion_tokens"] == 0


def test_what_cannot_be_has_a_finite_log_probability(server: Running) -> None:
    body = server.complete(prompt=PROMPT, logprobs=100, max_tokens=3, echo=True).body
    assert b"Infinity" not in body
    assert b"NaN" not in body


@pytest.mark.parametrize(
    "extra", [{}, {"echo": True}, {"logprobs": 2}, {"echo": True, "logprobs": 0, "n": 2}]
)
def test_a_stream_joins_to_the_whole(server: Running, extra: dict[str, Any]) -> None:
    fields = {"prompt": ["Once 🙂", "The"], "max_tokens": 20, "seed": 11, "stop": ["e"], **extra}
    whole = server.complete(**fields).value
    events = server.complete(**fields, stream=True, stream_options={"include_usage": True}).events
    assert len({event["id"] for event in events}) == 1
    *chunks, last = events
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert all(chunk["usage"] is None for chunk in chunks)
    for choice in whole["choices"]:
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts][-1] == choice["finish_reason"]
        tables = [part["logprobs"] for part in parts if part["logprobs"]]
        for name, column in (choice["logprobs"] or {}).items():
            assert [value for table in tables for value in table[name]] == column


def test_the_beginning_of_a_stop_never_leaks_into_a_stream(server: Running, model: LanguageModel) -> None:
    text = model.generate(PROMPT, seed=2, max_tokens=30, temperature=1, top_k=0, top_p=1).text
    stop = text[len(text) // 2 :][:4]
    events = server.complete(prompt=PROMPT, seed=2, max_tokens=30, stop=stop, stream=True).events
    seen = ""
    for event in events:
        seen += event["choices"][0]["text"]
        assert text.partition(stop)[0].startswith(seen)
    assert seen == text.partition(stop)[0]


def test_a_prompt_that_is_too_long_is_refused_with_both_counts(server: Running) -> None:
    reply = server.complete(prompt=[5] * (CONTEXT + 1))
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")
    assert f"{CONTEXT + 1} tokens" in reply.error["message"]
    assert str(CONTEXT) in reply.error["message"]
    full = server.complete(prompt=[5] * CONTEXT, max_tokens=3)
    assert only(full)["finish_reason"] in ("length", "stop")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "a", "tempratur": 1}, "tempratur"),
        ({"prompt": "a", "temperature": -1}, "temperature"),
        ({"prompt": "a", "temperature": "hot"}, "temperature"),
        ({"prompt": "a", "max_tokens": 1.5}, "max_tokens"),
        ({"prompt": "a", "logprobs": 101}, "logprobs"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "n": 0}, "n"),
        ({"prompt": "a", "n": 2, "best_of": 3}, "best_of"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "stop": [1]}, "stop"),
        ({"prompt": "a", "stop": ""}, "stop"),
        ({"prompt": "a", "stream": "yes"}, "stream"),
        ({"prompt": "a", "stream_options": {"include_usage": 1}}, "stream_options"),
        ({"prompt": "a", "stream_options": {"usage": True}}, "stream_options"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"5": 1000}}, "logit_bias"),
        ({"prompt": "a", "logit_bias": {"99999": 1}}, "logit_bias"),
        ({"prompt": "a", "model": 3}, "model"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [999999]}, "prompt"),
        ({"prompt": {"text": "a"}}, "prompt"),
    ],
    ids=json.dumps,
)
def test_a_wrong_field_is_named(server: Running, fields: dict[str, Any], param: str) -> None:
    reply = server.ask("/v1/completions", fields)
    assert reply.status == 400
    assert reply.error["param"] == param
    assert reply.error["type"] == "invalid_request_error"
    assert "`" not in reply.error["message"]


def test_the_model_must_be_the_one_that_is_served(
    server: Running, model: LanguageModel, tmp_path: Path
) -> None:
    assert server.complete(prompt="a", model=model.files.name).status == 200
    reply = server.complete(prompt="a", model="gpt-3.5-turbo-instruct")
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    assert server.ask("/v1/models").value["data"][0]["id"] == model.files.name
    assert server.ask(f"/v1/models/{model.files.name}").value["id"] == model.files.name
    assert server.ask("/v1/models/other").status == 404
