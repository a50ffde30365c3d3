"""Lines of texts to score, against scores of the same texts alone and the steps of lm-eval."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
import torch
from backends import CPU_DEFAULT
from checkpoints import save_model_folder
from line_feeds import json_lines, run_lines

from gpt2cli.generation.continuation import Continuation
from gpt2cli.generation.settings import CompletionSettings
from gpt2cli.model.loading import LoadedModel, load
from gpt2cli.ops.compute import Compute
from gpt2cli.scoring.report import score_rows
from gpt2cli.scoring.settings import ScoringSettings
from gpt2cli.serving.lines import Line
from gpt2cli.serving.score_lines import ScoreLines

CONTEXT = 48
PAIRS = [
    ("Once upon a", " time there was"),
    ("Once upon a ", "time there was"),
    ("", "Once upon a time"),
    ("a b", "c"),
    ("The end.\n\n", "Next"),
]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedModel, Any]:
    folder = tmp_path_factory.mktemp("score-lines")
    reference = save_model_folder(folder, n_positions=CONTEXT)
    return load(str(folder), Compute(backend=CPU_DEFAULT, threads=1)), reference


@pytest.fixture(scope="module")
def loaded(both: tuple[LoadedModel, Any]) -> LoadedModel:
    return both[0]


def scores(loaded: LoadedModel, lines: list[Line], **settings: Any) -> list[dict[str, Any]]:
    return run_lines(ScoreLines(loaded, ScoringSettings(**settings)), lines)


@pytest.mark.parametrize("settings", [{}, {"bos": False}, {"window": 16, "stride": 5}])
def test_a_text_has_the_score_that_it_has_alone(loaded: LoadedModel, settings: dict[str, Any]) -> None:
    texts = ["Once upon a time", "x", "", "The cat sat. " * 12, "é — ü"]
    found = scores(loaded, json_lines({"text": text} for text in texts), **settings)
    for text, answer in zip(texts, found, strict=True):
        rows = score_rows(loaded, text, ScoringSettings(unit="nats", **settings)) if text else []
        logprobs = [-row.surprisal for row in rows if row.surprisal is not None]
        assert answer["logprob"] == pytest.approx(sum(logprobs), abs=1e-9)
        assert answer["tokens"] == len(logprobs)
        assert answer["is_greedy"] is all(getattr(row, "rank", 1) in (1, None) for row in rows)
        mean = sum(logprobs) / len(logprobs) if logprobs else None
        assert answer["perplexity"] == (None if mean is None else pytest.approx(math.exp(-mean)))


def test_a_continuation_is_scored_as_lm_eval_scores_it(both: tuple[LoadedModel, Any]) -> None:
    loaded, reference = both
    encode = loaded.tokenizer.encode
    lines = json_lines({"context": context, "continuation": rest} for context, rest in PAIRS)
    for (context, rest), answer in zip(PAIRS, scores(loaded, lines), strict=True):
        # lm_eval.api.model.TemplateLM._encode_pair, then HFLM._loglikelihood_tokens.
        spaces = len(context) - len(context.rstrip())
        if spaces:
            rest, context = context[-spaces:] + rest, context[:-spaces]
        ids = encode(context + rest)
        count = len(ids) - len(encode(context) if context else [])
        with torch.no_grad():
            logits = reference(torch.tensor([[0, *ids[:-1]]])).logits[0, -count:]
        logprobs = torch.log_softmax(logits.double(), -1)
        expected = logprobs[range(count), ids[-count:]].sum().item()
        assert answer["logprob"] == pytest.approx(expected, abs=1e-4)
        assert answer["tokens"] == count
        assert answer["is_greedy"] is (logprobs.argmax(-1).tolist() == ids[-count:])


def test_what_a_greedy_sample_says_is_greedy(loaded: LoadedModel) -> None:
    settings = CompletionSettings(temperature=0, max_tokens=1, bos=True)
    prompts = [f"{letter} cat" for letter in "abcdefghijklmnopqrst"]
    made = [Continuation(loaded, prompt, settings).results()[0] for prompt in prompts]
    pairs = list(zip(prompts, made, strict=True))
    kept = [
        (prompt, one.text)
        for prompt, one in pairs
        if loaded.tokenizer.encode(prompt + one.text)[-1:] == list(one.token_ids)
    ]
    assert kept
    lines = json_lines({"context": prompt, "continuation": text} for prompt, text in kept)
    assert all(answer["is_greedy"] for answer in scores(loaded, lines))


def test_neither_order_nor_company_changes_a_score(loaded: LoadedModel) -> None:
    lines = json_lines({"text": "The cat sat. " * (number % 13)} for number in range(200))
    expected = {answer["line"]: answer for answer in scores(loaded, lines)}
    assert list(expected) == list(range(1, 201))
    shuffled = random.Random(1).sample(lines, len(lines))
    found = run_lines(ScoreLines(loaded, ScoringSettings()), shuffled, unordered=True)
    assert {answer["line"]: answer for answer in found} == expected
    assert scores(loaded, lines[30:31]) == [expected[31]]


@pytest.mark.parametrize(
    ("line", "param", "message"),
    [
        ({}, "text", "The line has neither text nor context."),
        ({"prompt": "a"}, "text", "The line has neither text nor context."),
        ({"context": "a"}, "continuation", "The line has no continuation."),
        ({"text": "a", "context": "b"}, "context", "There is no field 'context' beside text."),
        ({"context": "a", "continuation": "b", "unit": "bits"}, "unit", "There is no field 'unit'"),
        ({"text": 5}, "text", "text must be a text."),
        ({"id": 1.5, "text": "a"}, "id", "id must be a text or a whole number."),
        ({"text": "\ud800"}, None, "Character 0 of the text is a lone surrogate."),
    ],
)
def test_a_bad_line_gets_an_error(
    loaded: LoadedModel, line: dict[str, Any], param: str | None, message: str
) -> None:
    first, last = scores(loaded, json_lines([line, {"text": "a"}]))
    assert first["error"]["param"] == param
    assert first["error"]["message"].startswith(message)
    assert last["tokens"] == 1


def test_an_id_of_any_kind_comes_back(loaded: LoadedModel) -> None:
    ids: list[Any] = ["\ud800", 2**70, "", None, 'a"b']
    found = scores(loaded, [Line(1, json.dumps({"id": one, "text": "a"}).encode()) for one in ids])
    assert [answer["id"] for answer in found] == ids
