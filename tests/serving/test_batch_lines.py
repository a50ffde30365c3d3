"""Lines of the OpenAI API's batch files, against lines of this protocol that ask for the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from backends import CPU_DEFAULT
from checkpoints import save_model_folder
from line_feeds import json_lines, run_lines

from gpt2cli.generation.settings import SampleSettings
from gpt2cli.model.loading import LoadedModel, load
from gpt2cli.ops.compute import Compute
from gpt2cli.scoring.settings import ScoringSettings
from gpt2cli.serving.answers import json_bytes
from gpt2cli.serving.completion_lines import CompletionLines
from gpt2cli.serving.journal import state_of
from gpt2cli.serving.score_lines import ScoreLines

# What the OpenAI API has where a body says nothing.
THEIRS = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_tokens": 16}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder: Path = tmp_path_factory.mktemp("batch")
    save_model_folder(folder, n_positions=48)
    return load(str(folder), Compute(backend=CPU_DEFAULT, threads=1), for_decoding=True)


def answers(loaded: LoadedModel, *lines: dict[str, Any]) -> list[dict[str, Any]]:
    return run_lines(CompletionLines(loaded, SampleSettings(max_tokens=3), 5), json_lines(lines))


def batch(body: dict[str, Any], custom_id: Any = "one", **fields: Any) -> dict[str, Any]:
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": body}
    return line | fields


def test_a_batch_line_is_answered_as_the_same_request_is_and_may_stand_among_others(
    loaded: LoadedModel,
) -> None:
    plain, whole, last = answers(
        loaded, {"prompt": "a"}, batch({"model": "any", "prompt": "Once", "seed": 3}), {"prompt": "b"}
    )
    assert (whole["id"], whole["custom_id"], whole["error"]) == ("batch_req_2", "one", None)
    assert (whole["response"]["status_code"], whole["response"]["request_id"]) == (200, "req_2")
    body = whole["response"]["body"]
    (same,) = answers(loaded, {"prompt": "Once", "seed": 3, **THEIRS})
    assert [choice["text"] for choice in body["choices"]] == [same["choices"][0]["text"]]
    assert body["choices"][0]["finish_reason"] == same["choices"][0]["finish_reason"]
    assert (body["object"], body["model"]) == ("text_completion", loaded.files.name)
    assert body["usage"]["prompt_tokens"] == same["usage"]["prompt_tokens"]
    assert [plain["line"], last["line"]] == [1, 3]


def test_several_prompts_have_their_choices_one_after_the_other(loaded: LoadedModel) -> None:
    (answer,) = answers(loaded, batch({"prompt": ["Once", "The"], "n": 2, "max_tokens": 4, "seed": 1}))
    choices = answer["response"]["body"]["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    singles = answers(
        loaded,
        *({"prompt": one, "num_samples": 2, "seed": 1, **THEIRS, "max_tokens": 4} for one in ("Once", "The")),
    )
    expected = [choice["text"] for single in singles for choice in single["choices"]]
    assert [choice["text"] for choice in choices] == expected


def test_an_echoed_prompt_has_the_scores_that_score_gives_it(loaded: LoadedModel) -> None:
    text = "Once upon a time there was"
    request = {"prompt": text, "echo": True, "logprobs": 1, "max_tokens": 0}
    (answer,) = answers(loaded, batch(request))
    choice = answer["response"]["body"]["choices"][0]
    first, *logprobs = choice["logprobs"]["token_logprobs"]
    scorer = ScoreLines(loaded, ScoringSettings(bos=False))
    (scored,) = run_lines(scorer, json_lines([{"text": text}]))
    assert first is None
    assert sum(logprobs) == pytest.approx(scored["logprob"], abs=1e-12)
    assert choice["text"] == text


def test_the_seed_of_a_line_follows_from_its_custom_id(loaded: LoadedModel) -> None:
    body = {"prompt": "Once"}
    one, again, other = answers(loaded, batch(body), batch(body), batch(body, "two"))
    bodies = [answer["response"]["body"] for answer in (one, again, other)]
    assert bodies[0]["choices"] == bodies[1]["choices"]
    assert len({entry["seed"] for entry in bodies}) == 2


@pytest.mark.parametrize(
    ("line", "param"),
    [
        (batch({"prompt": "a"}, url="/v1/chat/completions"), "url"),
        (batch({"prompt": "a"}, method="GET"), "method"),
        (batch({"prompt": "a", "temprature": 1}), "temprature"),
        (batch({"prompt": "a", "stream": True}), "stream"),
        (batch({"prompt": [999]}), "prompt"),
        (batch({"prompt": "a"}, custom_id=5), "custom_id"),
        (batch([]), "body"),  # type: ignore[arg-type]
        ({"custom_id": "one"}, "method"),
    ],
)
def test_a_bad_batch_line_gets_its_error_in_a_response(
    loaded: LoadedModel, line: dict[str, Any], param: str
) -> None:
    bad, good = answers(loaded, line, {"prompt": "a"})
    assert bad["response"]["status_code"] == 400
    assert bad["response"]["body"]["error"]["param"] == param
    assert bad["custom_id"] == (line["custom_id"] if isinstance(line["custom_id"], str) else None)
    assert state_of(json_bytes(bad)) == (1, True, True)
    assert good["choices"]
