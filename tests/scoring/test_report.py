"""Scores and predictions in Python, against transformers and the tables of the command line."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from checkpoints import save_model_folder
from conftest import Gpt2

from gpt2cli.cli.spelling import spell
from gpt2cli.errors import UsageError
from gpt2cli.model.loading import LoadedModel, load
from gpt2cli.ops.compute import Compute
from gpt2cli.scoring.continuations import next_tokens
from gpt2cli.scoring.report import score_rows
from gpt2cli.scoring.rows import TokenRow
from gpt2cli.scoring.settings import By, NextSettings, ScoringSettings
from gpt2cli.scoring.windows import require_bos
from gpt2cli.scoring.words import WordRow

VOCABULARY, CONTEXT = 320, 64
TEXT = "Once upon\na time 👍 there"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("report")
    reference = save_model_folder(folder, vocab_size=VOCABULARY, n_positions=CONTEXT)
    return folder, reference


@pytest.fixture(scope="module")
def loaded(made: tuple[Path, Any]) -> LoadedModel:
    return load(str(made[0]), Compute(threads=1), offline=True)


def logprobs(reference: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return torch.log_softmax(reference(torch.tensor([ids])).logits[0].double(), -1)


def test_token_rows_have_the_surprisal_entropy_and_rank_of_transformers(
    made: tuple[Path, Any], loaded: LoadedModel
) -> None:
    rows = score_rows(loaded, TEXT, ScoringSettings(unit="nats"))
    ids = loaded.tokenizer.encode(TEXT)
    assert loaded.tokenizer.bos_id is not None
    expected = logprobs(made[1], [loaded.tokenizer.bos_id, *ids])[:-1]
    assert len(rows) == len(ids)
    for row, token_id, scores in zip(rows, ids, expected, strict=True):
        assert isinstance(row, TokenRow)
        assert row.surprisal == pytest.approx(-float(scores[token_id]), abs=1e-4)
        assert row.entropy == pytest.approx(-float((scores.exp() * scores).sum()), abs=1e-4)
        assert row.rank == int((scores > scores[token_id]).sum()) + 1
        if not row.text.startswith("bytes:"):
            assert row.text == TEXT[row.start : row.end]


@pytest.mark.slow
@pytest.mark.parametrize("by", get_args(By))
def test_rows_are_those_of_the_command(
    gpt2: Gpt2, made: tuple[Path, Any], loaded: LoadedModel, by: By
) -> None:
    command = ("score", "-m", made[0], "--threads", "1", "--json", "--by", by, "--text", TEXT)
    printed = json.loads(gpt2(*command).stdout)["rows"]
    rows = [asdict(row) for row in score_rows(loaded, TEXT, ScoringSettings(by=by))]
    assert len(rows) == len(printed) > 0
    for row, record in zip(rows, printed, strict=True):
        renamed = {by if name == "text" and by in ("token", "word") else name: row[name] for name in row}
        assert list(renamed) == list(record)
        for name, value in record.items():
            same = value if isinstance(value, str) else pytest.approx(value, abs=1e-5, rel=1e-4)
            assert renamed[name] == same


def test_tokens_and_words_have_obvious_columns() -> None:
    shared = {"text", "surprisal", "entropy", "start", "end"}
    assert shared | {"rank"} <= {field.name for field in fields(TokenRow)}
    assert shared <= {field.name for field in fields(WordRow)}


def test_a_protocol_measures_the_whole_text(loaded: LoadedModel) -> None:
    (row,) = score_rows(loaded, TEXT, ScoringSettings(protocol="lm-eval"))
    (same,) = score_rows(loaded, TEXT, ScoringSettings(window=CONTEXT, stride=CONTEXT, by="document"))
    assert row.surprisal == pytest.approx(same.surprisal, abs=1e-4)
    with pytest.raises(UsageError, match="`protocol` measures documents only"):
        score_rows(loaded, TEXT, ScoringSettings(protocol="hf", by="word"))


def test_next_tokens_are_pairs_of_a_text_and_its_probability(
    made: tuple[Path, Any], loaded: LoadedModel
) -> None:
    found = next_tokens(loaded, TEXT, NextSettings(top=5))
    expected = logprobs(made[1], loaded.tokenizer.encode(TEXT))[-1].exp().topk(5)
    assert [probability for _, probability in found] == pytest.approx(expected.values.tolist(), rel=1e-4)
    for (text, _), token_id in zip(found, expected.indices.tolist(), strict=True):
        data = loaded.tokenizer.token_bytes(token_id)
        assert text.startswith("bytes:") or text.encode() == data
    assert found == [tuple(entry) for entry in found]


def test_a_candidate_has_the_probability_of_its_tokens(made: tuple[Path, Any], loaded: LoadedModel) -> None:
    candidates = (" the end", "x")
    found = dict(next_tokens(loaded, "", NextSettings(candidates=candidates, bos=True)))
    assert set(found) == set(candidates)
    assert loaded.tokenizer.bos_id is not None
    for text, probability in found.items():
        ids = loaded.tokenizer.encode(text)
        scores = logprobs(made[1], [loaded.tokenizer.bos_id, *ids])
        total = sum(float(scores[place, token_id]) for place, token_id in enumerate(ids))
        assert probability == pytest.approx(math.exp(total), rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "`window` must be 1 or more, not 0"),
        ({"batch_size": -1}, "`batch_size` must be 1 or more"),
        ({"unit": "dits"}, "`unit` must be bits or nats, not 'dits'"),
        ({"protocol": "x"}, "`protocol` must be hf, lm-eval or llama.cpp, not 'x'"),
    ],
)
def test_a_setting_out_of_its_range_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ScoringSettings(**settings)


def test_what_cannot_be_predicted_from_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(UsageError, match="The text is empty"):
        next_tokens(loaded, "")
    with pytest.raises(UsageError, match="A candidate is empty"):
        NextSettings(candidates=["a", ""])
    with pytest.raises(UsageError, match="`top` must be 1 or more"):
        NextSettings(top=0)
    with pytest.raises(UsageError, match="`by` must be token, word, line or document, not 'page'"):
        ScoringSettings(by="page")  # type: ignore[arg-type]


def test_a_model_without_a_bos_token_says_how_to_do_without() -> None:
    with pytest.raises(UsageError) as caught:
        require_bos(None)
    assert "Use --no-bos." in spell(str(caught.value), ["score"])
