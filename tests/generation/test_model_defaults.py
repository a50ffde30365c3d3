"""What generation_config.json recommends, as settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model_folder
from transformers import GenerationConfig

import gpt2cli
from gpt2cli.errors import CheckpointError
from gpt2cli.generation.model_defaults import ModelDefaults
from gpt2cli.generation.settings import CompletionSettings


def defaults(folder: Path, **values: Any) -> ModelDefaults:
    path = folder / "generation_config.json"
    path.write_text(json.dumps(values))
    return ModelDefaults(path)


def test_what_transformers_saves_is_read_by_the_names_that_are_ours(tmp_path: Path) -> None:
    GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_k=7,
        top_p=0.5,
        min_p=0.01,
        repetition_penalty=1.2,
        no_repeat_ngram_size=3,
        max_new_tokens=11,
        stop_strings=["END"],
    ).save_pretrained(tmp_path)
    assert ModelDefaults(tmp_path / "generation_config.json").keywords() == {
        "temperature": 0.6,
        "top_k": 7,
        "top_p": 0.5,
        "min_p": 0.01,
        "repetition_penalty": 1.2,
        "no_repeat_ngram": 3,
        "max_tokens": 11,
        "stop": ["END"],
    }


def test_greedy_decoding_has_no_other_settings(tmp_path: Path) -> None:
    greedy = defaults(tmp_path, do_sample=False, temperature=0.5, top_k=5, repetition_penalty=1.1)
    assert greedy.keywords() == {"temperature": 0.0, "repetition_penalty": 1.1}
    assert greedy.changes(CompletionSettings(), ()) == ["do_sample=false", "repetition_penalty=1.1"]


def test_only_what_would_change_the_text_is_a_change(tmp_path: Path) -> None:
    found = defaults(tmp_path, temperature=0.5, top_k=40, top_p=0.9, min_p=None)
    assert found.changes(CompletionSettings(), ()) == ["temperature=0.5", "top_p=0.9"]
    assert found.changes(CompletionSettings(), {"temperature"}) == ["top_p=0.9"]
    assert found.changes(CompletionSettings(temperature=0), {"temperature"}) == []


def test_chosen_settings_stay(tmp_path: Path) -> None:
    found = defaults(tmp_path, temperature=0.5, top_k=3)
    applied = found.apply(CompletionSettings(top_k=9), {"top_k"})
    assert (applied.temperature, applied.top_k) == (0.5, 9)


def test_what_has_no_counterpart_is_named(tmp_path: Path) -> None:
    found = defaults(
        tmp_path, num_beams=4, max_length=20, typical_p=1.0, bad_words_ids=[[1]], length_penalty=1
    )
    assert found.unknown() == ["num_beams=4", "bad_words_ids=[[1]]"]


@pytest.mark.parametrize(
    "values", [{"temperature": "hot"}, {"top_k": 1.5}, {"top_p": 7}, {"top_k": True}], ids=str
)
def test_a_value_of_no_use_is_a_checkpoint_error_once_it_is_used(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    found = defaults(tmp_path, **values)
    assert len(found.changes(CompletionSettings(), ())) == 1
    with pytest.raises(CheckpointError, match=f"generation_config.json: {next(iter(values))} must be"):
        found.keywords()


def test_a_model_has_them_as_keywords(tmp_path: Path) -> None:
    save_model_folder(tmp_path)
    defaults(tmp_path, max_new_tokens=3, temperature=0.5, eos_token_id=[319])
    model = gpt2cli.load(str(tmp_path))
    assert model.generation_defaults == {"max_tokens": 3, "temperature": 0.5}
    assert len(model.generate("the", **model.generation_defaults).token_ids) <= 3
    (tmp_path / "generation_config.json").unlink()
    assert gpt2cli.load(str(tmp_path)).generation_defaults == {}
