"""Requests as JSON: what is taken, and what is refused with which field."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.cli.options.sampling import REPORTED
from gpt2cli.errors import Error
from gpt2cli.generation.settings import SampleSettings
from gpt2cli.serving.protocol import (
    CompletionRequest,
    RequestError,
    error_object,
    parse_request,
    read_object,
)
from gpt2cli.serving.seeds import line_seed

DEFAULTS = SampleSettings(max_tokens=9, temperature=0.5)
# A value other than the default of each setting that a line may have.
VALUES: dict[str, Any] = {
    "max_tokens": 7,
    "min_tokens": 2,
    "stop": ["."],
    "stop_at": "line",
    "keep_stop": True,
    "ignore_eos": True,
    "truncate": "left",
    "overflow": "slide",
    "special": True,
    "bos": True,
    "best_of": 3,
    "temperature": 0.25,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.1,
    "repetition_penalty": 1.5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.25,
    "no_repeat_ngram": 3,
    "bias": {" a": 1.5},
    "ban": [" the"],
    "seed": 11,
    "num_samples": 2,
    "logprobs": 1,
}


def refused(line: dict[str, Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_request(line, DEFAULTS)
    return caught.value


def test_a_prompt_alone_has_the_settings_of_the_run() -> None:
    request = parse_request({"prompt": "Once"}, DEFAULTS)
    assert request == CompletionRequest("Once", request.settings)
    assert vars(request.settings) == vars(DEFAULTS)


def test_every_setting_that_json_reports_is_a_field() -> None:
    assert {*REPORTED, "seed", "num_samples", "logprobs"} == VALUES.keys()
    settings = parse_request({"prompt": "Once", **VALUES}, DEFAULTS).settings
    for name, value in VALUES.items():
        found = getattr(settings, name)
        assert (list(found) if isinstance(found, tuple) else found) == value
    # Those left are not of a line: they never change a text.
    left = {field.name for field in fields(SampleSettings)} - VALUES.keys()
    assert left <= {"batch_size", "kv_memory", "speculate"}


def test_a_prompt_is_a_text_or_ids_or_none() -> None:
    assert parse_request({"prompt": [5, 6]}, DEFAULTS).prompt == (5, 6)
    assert parse_request({"unconditional": True}, DEFAULTS).prompt is None
    assert parse_request({"prompt": "a", "unconditional": False, "top_k": None}, DEFAULTS).prompt == "a"
    request = parse_request({"prompt": "a", "echo": True, "stream": True, "stop": "x"}, DEFAULTS)
    assert (request.echo, request.stream, request.settings.stop) == (True, True, ("x",))
    assert parse_request({"prompt": "a"}, DEFAULTS, echo=True).echo
    assert not parse_request({"prompt": "a", "echo": False}, DEFAULTS, echo=True).echo


@pytest.mark.parametrize(
    ("line", "param", "code", "message"),
    [
        ({}, "prompt", "missing_required_parameter", "The request has no prompt."),
        ({"prompt": ""}, "prompt", "invalid_value", "The prompt is empty. Use unconditional to start"),
        ({"prompt": []}, "prompt", "invalid_value", "The prompt is empty."),
        ({"prompt": 5}, "prompt", "invalid_type", "prompt must be a text or a list of token ids, not 5."),
        ({"prompt": [True]}, "prompt", "invalid_type", "prompt must be a text or a list of token ids"),
        ({"prompt": "a", "unconditional": True}, "prompt", "invalid_value", "takes no prompt"),
        ({"prompt": "a", "temprature": 1}, "temprature", "unknown_parameter", "no field 'temprature'"),
        ({"prompt": "a", "speculate": True}, "speculate", "unknown_parameter", "no field 'speculate'"),
        ({"prompt": "a", "top_p": 2}, "top_p", "invalid_value", "top_p must be above 0 and at most 1 (off)"),
        ({"prompt": "a", "top_k": 2.0}, "top_k", "invalid_type", "top_k must be a whole number, not 2.0."),
        ({"prompt": "a", "top_k": True}, "top_k", "invalid_type", "must be a whole number, not true."),
        ({"prompt": "a", "temperature": "1"}, "temperature", "invalid_type", 'a number, not "1".'),
        ({"prompt": "a", "temperature": 10**400}, "temperature", "invalid_type", "a float holds"),
        ({"prompt": "a", "stop": [1]}, "stop", "invalid_type", "stop must be a text or a list of texts"),
        ({"prompt": "a", "stop": [""]}, "stop", "invalid_value", "stop contains an empty text."),
        ({"prompt": "a", "bias": [1]}, "bias", "invalid_type", "bias must be an object of texts and numbers"),
        ({"prompt": "a", "echo": 1}, "echo", "invalid_type", "echo must be true or false, not 1."),
        ({"prompt": "a", "overflow": "wrap"}, "overflow", "invalid_type", 'stop or slide, not "wrap".'),
        ({"prompt": "a", "seed": -1}, "seed", "invalid_value", "seed must be between 0 and"),
        ({"prompt": "a", "best_of": 1, "num_samples": 2}, "best_of", "invalid_value", "at least num_samples"),
    ],
)
def test_a_wrong_field_is_named(line: dict[str, Any], param: str, code: str, message: str) -> None:
    error = error_object(refused(line))
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert message in error["message"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"nonsense", "The line is not JSON"),
        (b"\xff", "The line is not UTF-8"),
        (b"[1]", "The line is not a JSON object."),
        (b'{"prompt": "a", "prompt": "b"}', "The field 'prompt' is given twice."),
        (b'{"temperature": NaN}', "The line is not JSON: NaN is not a number there."),
        (b"[" * 100_000, "The JSON is nested too deeply."),
    ],
)
def test_a_line_that_is_no_object_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_object(data)
    assert message in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*VALUES, "prompt", "echo", "stream", "unconditional"]), json_values))
def test_any_fields_make_a_request_or_one_line_of_error(line: dict[str, Any]) -> None:
    try:
        parse_request(line, DEFAULTS)
    except RequestError as error:
        found = error_object(error)
        assert found["param"] in line or found["param"] in (None, "prompt")
        assert found["message"]
        json.dumps(found, allow_nan=False)


def test_what_is_not_the_requests_fault_has_another_type() -> None:
    error = error_object(Error("The model produced NaN.", "Its weights may be damaged."))
    assert error == {
        "message": "The model produced NaN. Its weights may be damaged.",
        "type": "server_error",
        "param": None,
        "code": None,
    }


def test_the_seed_of_a_line_depends_on_its_id_or_else_its_number() -> None:
    assert line_seed(1, 5, "a") == line_seed(1, 9, "a")
    seeds = [line_seed(1, 5, "a"), line_seed(2, 5, "a"), line_seed(1, 5, None), line_seed(1, 6, None)]
    seeds += [line_seed(1, 1, 5), line_seed(1, 1, "5"), line_seed(1, 1, "b")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**53 for seed in seeds)


def test_a_name_that_is_there_twice_among_very_many_is_found_at_once() -> None:
    # Counted once for each name, they would take minutes.
    names = "".join(f'"{number}": 0, ' for number in range(200_000))
    with pytest.raises(RequestError, match="The field 'twice' is given twice"):
        read_object(f'{{{names}"twice": 0, "twice": 1}}')


def test_a_long_name_is_shown_in_part() -> None:
    assert len(refused({"prompt": "a", "x" * 5000: 1}).message) < 200
