"""Weights as other tools leave them, against transformers: wrapped, beside other heads, with a lone head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from checkpoints import TINY, save_checkpoint, save_tokenizer
from conftest import Gpt2
from notes import Notes
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2DoubleHeadsModel,
    GPT2ForQuestionAnswering,
    GPT2ForSequenceClassification,
    GPT2ForTokenClassification,
    GPT2LMHeadModel,
)

from gpt2cli.hub.model_files import find_model
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import load_model
from gpt2cli.ops.backend import open_backend

pytestmark = pytest.mark.slow

IDS = [[5, 17, 99, 3, 0, 130]]
Tensors = Mapping[str, Tensor]
WEIGHTS = "model.safetensors"


def load(folder: Path, backend: str = "numpy") -> tuple[np.ndarray[Any, Any], list[str]]:
    """Return the logits of the checkpoint in a folder for IDS, and the notes on it."""
    files = find_model(str(folder))
    assert files is not None
    notes = Notes()
    model = load_model(files, open_backend("cpu", backend, threads=1), reporter=notes)
    return model.ops.to_numpy(logits(model, hidden_states(model, model.ops.token_ids(IDS)))), notes.lines


def expected(model: GPT2LMHeadModel) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        scores: np.ndarray[Any, Any] = model.eval()(torch.tensor(IDS)).logits.numpy()
    return scores


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    """Change the tensors in the weights file of a folder."""
    changed = change(load_file(folder / WEIGHTS))
    save_file({name: tensor.clone().contiguous() for name, tensor in changed.items()}, folder / WEIGHTS)


def with_prefix(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.fixture
def reference(tmp_path: Path) -> GPT2LMHeadModel:
    return save_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        (GPT2DoubleHeadsModel, "multiple_choice_head"),
        (GPT2ForSequenceClassification, "score"),
        (GPT2ForTokenClassification, "classifier"),
        (GPT2ForQuestionAnswering, "qa_outputs"),
    ],
)
def test_heads_of_other_tasks_are_left_out_with_one_note(tmp_path: Path, kind: Any, head: str) -> None:
    torch.manual_seed(0)
    kind(GPT2Config(**TINY, initializer_range=0.3)).save_pretrained(tmp_path)
    assert any(name.startswith(f"{head}.") for name in load_file(tmp_path / WEIGHTS))
    actual, notes = load(tmp_path)
    np.testing.assert_allclose(actual, expected(GPT2LMHeadModel.from_pretrained(tmp_path)), atol=1e-4)
    assert notes == [f"{tmp_path / WEIGHTS}: leaving out {head}, which a language model does not use."]


def test_many_heads_make_one_short_note(tmp_path: Path, reference: GPT2LMHeadModel) -> None:
    heads = {f"head_{number}.{kind}": torch.zeros(3) for number in range(9) for kind in ("weight", "bias")}
    rewrite(tmp_path, lambda tensors: {**tensors, **heads})
    actual, notes = load(tmp_path)
    np.testing.assert_allclose(actual, expected(reference), atol=1e-4)
    (note,) = notes
    assert "leaving out head_0, head_1, head_2, head_3 and 5 more, which" in note


def test_attention_to_an_encoder_is_left_out_as_transformers_does(tmp_path: Path) -> None:
    reference = save_checkpoint(tmp_path, add_cross_attention=True)
    actual, notes = load(tmp_path)
    np.testing.assert_allclose(actual, expected(reference), atol=1e-4)
    (note,) = notes
    assert "leaving out crossattention, ln_cross_attn, which" in note


@pytest.mark.parametrize("backend", ["compiled", "numpy", "torch"])
def test_a_tied_head_that_is_stored_alone_is_the_embedding(tmp_path: Path, backend: str) -> None:
    reference = save_checkpoint(tmp_path)
    save_model(reference, str(tmp_path / WEIGHTS))
    names = load_file(tmp_path / WEIGHTS)
    assert "lm_head.weight" in names
    assert "transformer.wte.weight" not in names
    actual, notes = load(tmp_path, backend)
    np.testing.assert_allclose(actual, expected(reference), atol=1e-4)
    assert notes == []


def test_a_head_that_differs_from_its_embedding_is_used_as_transformers_does(tmp_path: Path) -> None:
    reference = save_checkpoint(tmp_path, tie_word_embeddings=False)
    config = tmp_path / "config.json"
    config.write_text(
        config.read_text().replace('"tie_word_embeddings": false', '"tie_word_embeddings": true')
    )
    theirs = expected(GPT2LMHeadModel.from_pretrained(tmp_path))
    np.testing.assert_allclose(theirs, expected(reference), atol=1e-5)
    actual, notes = load(tmp_path)
    np.testing.assert_allclose(actual, theirs, atol=1e-4)
    assert notes == [
        f"{tmp_path / WEIGHTS}: the head differs from the embedding, "
        "so it is used although config.json ties them."
    ]


def compiled(model: nn.Module) -> nn.Module:
    wrapped: Any = torch.compile(model)
    return cast(nn.Module, wrapped)


def parts_compiled(model: Any) -> nn.Module:
    for number, block in enumerate(model.transformer.h):
        model.transformer.h[number] = torch.compile(block)
    return model  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("wrap", "prefix"),
    [
        pytest.param(compiled, "_orig_mod.", id="compiled"),
        pytest.param(parts_compiled, "_orig_mod.", id="compiled blocks"),
        pytest.param(nn.DataParallel, "module.", id="parallel"),
        pytest.param(lambda model: compiled(nn.DataParallel(model)), "_orig_mod.module.", id="both"),
        pytest.param(lambda model: nn.DataParallel(compiled(model)), "_orig_mod.module.", id="both, inside"),
    ],
)
@pytest.mark.parametrize("pickled", [False, True], ids=["safetensors", "pickle"])
def test_prefixes_of_wrappers_are_dropped_with_one_note(
    tmp_path: Path, wrap: Callable[[nn.Module], nn.Module], prefix: str, pickled: bool
) -> None:
    reference = save_checkpoint(tmp_path)
    before = expected(reference)
    state = wrap(reference).state_dict()
    assert all(any(f"{part}." in name for name in state) for part in prefix.split(".")[:-1])
    path = tmp_path / WEIGHTS
    if pickled:
        path.unlink()
        path = tmp_path / "pytorch_model.bin"
        torch.save(state, path)
    else:
        save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    actual, notes = load(tmp_path)
    np.testing.assert_allclose(actual, before, atol=1e-4)
    assert notes == [f"{path}: the prefix {prefix} is dropped from the names of the weights."]


@pytest.mark.parametrize(
    "prefix",
    [
        *("model.", "module.", "base_model.model.", "pretrained_model.", "_forward_module."),
        *("_fsdp_wrapped_module.", "module._orig_mod.base_model.model.", "model.model."),
    ],
)
@pytest.mark.parametrize("is_bare", [False, True], ids=["whole", "without its head"])
def test_any_wrapper_around_any_other_is_dropped(
    tmp_path: Path, reference: GPT2LMHeadModel, prefix: str, is_bare: bool
) -> None:
    before = expected(reference)
    (reference.transformer if is_bare else reference).save_pretrained(tmp_path)
    rewrite(tmp_path, with_prefix(prefix))
    actual, notes = load(tmp_path)
    np.testing.assert_allclose(actual, before, atol=1e-4)
    assert len(notes) == 1


def test_a_value_head_in_a_wrapper_is_left_out_too(tmp_path: Path, reference: GPT2LMHeadModel) -> None:
    value_head = {"v_head.summary.weight": torch.zeros(1, 24), "v_head.summary.bias": torch.zeros(1)}
    rewrite(tmp_path, lambda tensors: with_prefix("module.")({**tensors, **value_head}))
    actual, notes = load(tmp_path)
    np.testing.assert_allclose(actual, expected(reference), atol=1e-4)
    assert [note.partition(": ")[2] for note in notes] == [
        "the prefix module. is dropped from the names of the weights.",
        "leaving out v_head, which a language model does not use.",
    ]


def test_a_wrapped_checkpoint_makes_the_same_text_as_a_plain_one_with_a_note_unless_quiet(
    gpt2: Gpt2, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path, vocab_size=300)
    save_tokenizer(tmp_path, 300)
    command = ("generate", "Once", "-m", tmp_path, "-n", "5", "-s", "1", "--device", "cpu")
    plain = gpt2(*command)
    assert (plain.returncode, plain.stderr) == (0, b"")
    head = {"v_head.summary.weight": torch.zeros(1, 24)}
    rewrite(tmp_path, lambda tensors: with_prefix("module.")({**tensors, **head}))
    noted, quiet = gpt2(*command), gpt2(*command, "-q")
    assert noted.stdout == quiet.stdout == plain.stdout
    assert quiet.stderr == b""
    assert noted.stderr.decode().splitlines() == [
        f"{tmp_path / WEIGHTS}: the prefix module. is dropped from the names of the weights.",
        f"{tmp_path / WEIGHTS}: leaving out v_head, which a language model does not use.",
    ]


@pytest.mark.slow
def test_every_command_that_opens_weights_notes_what_is_left_out_once(gpt2: Gpt2, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_checkpoint(folder, vocab_size=300)
    save_tokenizer(folder, 300)
    rewrite(folder, lambda tensors: {**tensors, "score.weight": torch.zeros(2, 24)})
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time there was a lark. " * 40)
    # One thread waits for no other on a busy machine.
    small = ("--steps", "1", "--context", "16", "--batch-tokens", "32", "--threads", "1")
    for command in (
        ("score", "-m", folder, text),
        ("next", "-m", folder, "Once"),
        ("rank", "-m", folder, text),
        ("train", text, "--from", folder, "-o", tmp_path / "run", *small),
    ):
        result = gpt2(*command)
        assert result.returncode == 0, result.stderr
        assert result.stderr.count(b"leaving out score") == 1, command
        assert b"leaving out" not in result.stdout
