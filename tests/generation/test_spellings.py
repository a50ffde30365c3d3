"""Texts that are continued with tokenizers of each kind, against transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import save_family
from tokenizers_of_kinds import KINDS, in_transformers

import gpt2cli

FAMILY = {"gpt1": "gpt1", "words": "gpt2", "characters": "gpt2", "smollm": "llama", "llama3": "llama"}


@pytest.fixture(scope="module", params=KINDS)
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, gpt2cli.LanguageModel, Any, Any]:
    folder = tmp_path_factory.mktemp(request.param)
    library = KINDS[request.param]()
    family = FAMILY.get(request.param, "llama")
    reference = save_family(
        folder, family, vocab_size=library.get_vocab_size(), bos_token_id=0, eos_token_id=0
    )
    library.save(str(folder / "tokenizer.json"))
    return request.param, gpt2cli.load(str(folder), offline=True), reference, in_transformers(library)


@pytest.mark.parametrize("prompt", ["Once upon", "a fox ", None])
def test_a_greedy_text_is_that_of_transformers(
    opened: tuple[str, gpt2cli.LanguageModel, Any, Any], prompt: str | None
) -> None:
    kind, model, reference, tokenizer = opened
    ids = [0] if prompt is None else tokenizer.encode(prompt)
    asked = {"temperature": 0.0, "max_tokens": 24, "ignore_eos": True}
    made = model.generate(prompt, **asked)  # type: ignore[arg-type]
    start, ids = len(ids) - 1, [*ids, *made.token_ids]
    with torch.no_grad():
        # Each of the ids is the likeliest after those before it, and so all are.
        logits = reference(torch.tensor([ids])).logits[0, start:-1]
    logits[:, 0] = -torch.inf
    assert list(made.token_ids) == logits.argmax(-1).tolist()
    assert len(made.token_ids) == 24
    before = 1 if prompt is None or ids[0] != tokenizer.encode(prompt, add_special_tokens=False)[0] else 0
    whole = tokenizer.decode(ids[before:])
    if prompt is None:
        expected = whole
    else:
        given = tokenizer.decode(ids[before : len(ids) - 24])
        assert whole.startswith(given)
        expected = whole[len(given) :]
        if kind in ("gpt1", "words"):
            # The prompt's own space is the one between words.
            expected = expected.removeprefix(" " if prompt.endswith(" ") else "")
    if "\ufffd" not in expected or kind not in ("llama2", "metaspace"):
        assert made.text == expected
    assert "".join(model.stream(prompt, **asked)) == made.text  # type: ignore[arg-type]


def test_stops_and_bans_and_places_fit_the_text(opened: tuple[str, gpt2cli.LanguageModel, Any, Any]) -> None:
    _, model, _, _ = opened
    asked: dict[str, Any] = {"max_tokens": 24, "seed": 3, "logprobs": 0, "ignore_eos": True}
    whole = model.generate("Once", **asked)
    stop = whole.text[5:8]
    assert model.generate("Once", **asked, stop=[stop]).text == whole.text[: whole.text.index(stop)]
    table = whole.logprobs or {}
    for offset, following, data in zip(
        table["text_offset"], [*table["text_offset"][1:], len(whole.text)], table["bytes"], strict=True
    ):
        text = bytes(data).decode(errors="replace")
        if "\ufffd" not in text:
            assert whole.text[offset:following].replace("\ufffd", "").strip() == text.strip()
    for part in (" fox", "fox"):
        banned = model.tokenizer.encode(part, continues=True)
        made = model.samples("Once", num_samples=4, seed=3, max_tokens=32, ban=[part])
        rows = [list(sample.token_ids) for sample in made]
        assert all(ids[n : n + len(banned)] != banned for ids in rows for n in range(len(ids)))
