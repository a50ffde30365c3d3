"""The card of a trained model: what it says, and that an edited one is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from test_training import SETTINGS

from gpt2cli.checkpoint.architecture import Architecture
from gpt2cli.checkpoint.architectures import ARCHITECTURES, GPT2
from gpt2cli.training.run.model_card import card_facts, is_unedited, model_card, write_card

COUNTS = {"documents": 2, "bytes": 9_000, "train": 3_000, "held_out": 150}
RESULT = {"step": 40, "loss": 3.25, "bits_per_byte": 1.5}


def card(parent: str | None = None, license_name: str | None = None, **result: Any) -> str:
    facts = card_facts(
        parent, license_name, ["/home/me/poems.txt", r"C:\texts\more.txt"], "/x/held.txt", COUNTS
    )
    return model_card("poet", GPT2, facts, SETTINGS, result or RESULT)


def front_matter(text: str) -> dict[str, Any]:
    return dict(ModelCard(text).data.to_dict())  # type: ignore[no-untyped-call]


def test_the_hub_reads_the_front_matter() -> None:
    assert front_matter(card("openai-community/gpt2@main", "MIT")) == {
        "license": "mit",
        "base_model": "openai-community/gpt2",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["gpt2"],
    }


@pytest.mark.parametrize("parent", [None, "stories", "/home/me/models/mine"])
def test_what_is_unknown_is_left_out(parent: str | None) -> None:
    text = card(parent)
    assert front_matter(text).keys() == {"library_name", "pipeline_tag", "tags"}
    assert ("fine-tuned from `" in text) == bool(parent)


def test_the_body_names_data_settings_and_result_but_no_folder() -> None:
    text = card("/home/me/models/mine")
    for part in (
        "A GPT-2 fine-tuned from `mine`.",
        "`poems.txt`, `more.txt`: 2 documents, 9,000 bytes, 3,000 tokens to train on.",
        "150 tokens of `held.txt` were held out.",
        f"| learning rate | {SETTINGS.learning_rate:g} after",
        "after step 40. Their loss on the held-out text is 3.2500 nats per token, or 1.5000 bits per byte.",
        'gpt2 generate -m poet "..."',
    ):
        assert part in text
    assert "home" not in text
    assert "texts" not in text
    assert "before its weights were evaluated" in card(step=7)


@pytest.mark.parametrize("family", ARCHITECTURES, ids=lambda family: family.model_type)
def test_the_card_names_the_family(family: Architecture) -> None:
    facts = card_facts("mine", None, ["poems.txt"], None, COUNTS)
    text = model_card("poet", family, facts, SETTINGS, RESULT)
    assert front_matter(text)["tags"] == [family.model_type]
    assert f"A {family.title} fine-tuned from `mine`." in text


def test_many_names_are_cut() -> None:
    facts = card_facts(None, None, [f"{number}.txt" for number in range(1_234)], None, COUNTS)
    assert "`19.txt` and 1,214 more: 2 documents" in model_card("poet", GPT2, facts, SETTINGS, RESULT)


def test_a_card_is_replaced_until_somebody_edits_it(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    assert not is_unedited(path)
    for step in (1, 2):
        write_card(path, card(step=step, loss=1.0, bits_per_byte=1.0))
        assert f"after step {step}." in path.read_text()
        assert is_unedited(path)
    edited = path.read_text().replace("# poet", "# My poet")
    path.write_text(edited)
    assert not is_unedited(path)
    write_card(path, card())
    assert path.read_text() == edited
    path.write_bytes(b"\xff")
    write_card(path, card())
    assert path.read_bytes() == b"\xff"
