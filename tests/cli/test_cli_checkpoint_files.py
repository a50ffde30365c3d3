"""Commands on checkpoints with added tokens, several EOS, settings for generation and a BOS of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import save_model_folder
from conftest import Gpt2
from tokenizers import Tokenizer
from transformers import AutoTokenizer, GPT2LMHeadModel

pytestmark = pytest.mark.slow

SIZE = 320
ADDED = {"<pad>": SIZE, "<|user|>": SIZE + 1}
PROMPT = "from the tokenizer"
STEPS = 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a checkpoint with room for two added tokens, and no settings for generation."""
    path = tmp_path / "model"
    path.mkdir()
    save_model_folder(path)
    save_model_folder_of(path, SIZE + len(ADDED))
    return path


def save_model_folder_of(path: Path, vocab_size: int) -> None:
    model = GPT2LMHeadModel.from_pretrained(path)
    model.resize_token_embeddings(vocab_size, mean_resizing=False)
    model.save_pretrained(path)
    (path / "generation_config.json").unlink()


def write(folder: Path, **files: Any) -> None:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def split_vocabulary(folder: Path) -> None:
    path = folder / "tokenizer.json"
    Tokenizer.from_file(str(path)).model.save(str(folder))
    path.unlink()


def generated(gpt2: Gpt2, folder: Path, *options: str, prompt: str = PROMPT) -> dict[str, Any]:
    done = gpt2("generate", prompt, "-m", folder, "--json", "--temp", "0", "-n", str(STEPS), *options)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return report


def reference_ids(folder: Path, ids: list[int]) -> list[int]:
    """Return the ids that transformers generates greedily, with the EOS that ended them."""
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    with torch.no_grad():
        made = model.generate(torch.tensor([ids]), max_new_tokens=STEPS, do_sample=False, pad_token_id=0)
    return list(made[0, len(ids) :].tolist())


@pytest.mark.parametrize("place", ["added_tokens.json", "added_tokens_decoder"])
def test_an_added_token_is_read_and_printed(gpt2: Gpt2, folder: Path, place: str) -> None:
    split_vocabulary(folder)
    if place == "added_tokens.json":
        write(folder, added_tokens=ADDED)
    else:
        decoder = {str(value): {"content": key, "special": True} for key, value in ADDED.items()}
        write(folder, tokenizer_config={"added_tokens_decoder": decoder})
    made = gpt2("tokenize", "-m", folder, "--special", "--text", "<|user|>Hi")
    ids = list(map(int, made.stdout.split()))
    assert ids == AutoTokenizer.from_pretrained(folder)("<|user|>Hi").input_ids
    assert ids[0] == SIZE + 1
    back = gpt2("tokenize", "-m", folder, "--decode", stdin=b"%d" % ids[0])
    assert back.stdout == b"<|user|>"
    read = generated(gpt2, folder, "--special", prompt="<|user|>Hi")
    assert read["usage"]["prompt_tokens"] == len(ids)
    assert read["token_ids"] == reference_ids(folder, ids)[: len(read["token_ids"])]


@pytest.mark.parametrize("place", ["generation_config.json", "config.json"])
@pytest.mark.parametrize("options", [(), ("--speculate",), ("--num-samples", "2")], ids=" ".join)
def test_any_eos_of_a_list_ends_the_text_as_in_transformers(
    gpt2: Gpt2, folder: Path, place: str, options: tuple[str, ...]
) -> None:
    free = generated(gpt2, folder)["token_ids"]
    # The first that has not come before, some way into the text.
    later = next(token_id for n, token_id in enumerate(free) if n >= 4 and token_id not in free[:n])
    ends = [SIZE + 1, later]
    if place == "config.json":
        configure(folder, eos_token_id=ends)
    else:
        write(folder, generation_config={"eos_token_id": ends})
    made = generated(gpt2, folder, *options)
    assert made["finish_reason"] == "stop"
    assert made["token_ids"] == free[: free.index(later)]
    ids = AutoTokenizer.from_pretrained(folder)(PROMPT).input_ids
    assert reference_ids(folder, ids) == [*made["token_ids"], later]
    endless = generated(gpt2, folder, "--ignore-eos")
    assert endless["finish_reason"] == "length"
    assert not {*ends} & {*endless["token_ids"]}


def test_an_eos_that_only_repeats_a_wrong_config_is_wrong_too(gpt2: Gpt2, folder: Path) -> None:
    free = generated(gpt2, folder)["token_ids"]
    word = free[5]
    configure(folder, eos_token_id=word, bos_token_id=word)
    write(
        folder,
        tokenizer_config={"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
        generation_config={"bos_token_id": word, "eos_token_id": word, "_from_model_config": True},
    )
    done = gpt2("generate", PROMPT, "-m", folder, "--json", "--temp", "0", "-n", str(STEPS))
    assert json.loads(done.stdout)["token_ids"] == free
    (note,) = done.stderr.decode().splitlines()
    assert note.startswith(f"note: bos_token_id and eos_token_id {word} (")
    assert note.endswith("in config.json: the tokenizer has 0 ('<|endoftext|>'), which is used")
    for command in (["score", "--text", "the end"], ["next", "the"], ["rank"]):
        assert note.encode() in gpt2(*command, "-m", folder, stdin=b"a\nb\n").stderr


DEFAULTS = {"do_sample": True, "temperature": 0.5, "top_k": 3, "max_new_tokens": 5, "num_beams": 2}


def sampled(gpt2: Gpt2, folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    done = gpt2("generate", PROMPT, "-m", folder, "--json", "--seed", "1", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr.decode()


def test_the_models_defaults_are_named_and_taken_only_on_request(gpt2: Gpt2, folder: Path) -> None:
    usual, _ = sampled(gpt2, folder)
    write(folder, generation_config=DEFAULTS)
    same, note = sampled(gpt2, folder)
    assert same["token_ids"] == usual["token_ids"]
    assert note == (
        "note: generation_config.json sets temperature=0.5, top_k=3, max_new_tokens=5; "
        "--generation-config applies that\n"
    )
    assert sampled(gpt2, folder, "-q")[1] == ""
    taken, note = sampled(gpt2, folder, "--generation-config")
    assert note == "note: generation_config.json also sets num_beams=2, which has no option here\n"
    spelled, note = sampled(gpt2, folder, "--temp", "0.5", "--top-k", "3", "-n", "5")
    assert note == ""
    assert (taken["token_ids"], taken["settings"]) == (spelled["token_ids"], spelled["settings"])
    # Options on the command line win, even where they repeat what holds without them.
    won, _ = sampled(gpt2, folder, "--generation-config", "--top-k", "40")
    assert (won["settings"]["top_k"], won["settings"]["temperature"]) == (40, 0.5)
    assert sampled(gpt2, folder, "--temp", "0", "-n", "3")[1] == ""


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ({"_from_model_config": True, "bos_token_id": 0, "eos_token_id": 0}, ""),
        ({"temperature": 0.8, "top_k": 40, "top_p": 0.95}, ""),
        ({"do_sample": False, "temperature": 0.5}, "do_sample=false"),
        ({"top_p": 0.5, "stop_strings": ["END"]}, 'top_p=0.5, stop_strings=["END"]'),
    ],
    ids=str,
)
def test_a_note_names_only_what_would_change_the_text(
    gpt2: Gpt2, folder: Path, values: dict[str, Any], note: str
) -> None:
    write(folder, generation_config=values)
    expected = f"note: generation_config.json sets {note}; --generation-config applies that\n" if note else ""
    assert sampled(gpt2, folder)[1] == expected
    taken, _ = sampled(gpt2, folder, "--generation-config")
    assert values.get("do_sample") is not False or taken["settings"]["temperature"] == 0


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 2, "has no generation_config.json. Leave out --generation-config."),
        ('{"temperature": -1}', 1, "generation_config.json: temperature must be 0 or more, not -1."),
        ('{"top_k": "many"}', 1, 'generation_config.json: top_k must be a number, not "many".'),
        ('{"eos_token_id": "</s>"}', 1, "eos_token_id must be a token id or a list of them, not '</s>'."),
        ("{", 1, "is not valid JSON"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_used_are_one_line(
    gpt2: Gpt2, folder: Path, content: str | None, code: int, message: str
) -> None:
    if content is not None:
        (folder / "generation_config.json").write_text(content)
    done = gpt2("generate", PROMPT, "-m", folder, "--generation-config")
    assert (done.returncode, done.stdout) == (code, b"")
    assert done.stderr.decode().count("\n") == 1
    assert message in done.stderr.decode()


@pytest.mark.parametrize("way", ["option", "tokenizer_config.json"])
def test_a_bos_before_the_prompt_is_that_of_transformers(gpt2: Gpt2, folder: Path, way: str) -> None:
    split_vocabulary(folder)
    write(folder, added_tokens=ADDED, tokenizer_config={"bos_token": "<|user|>", "add_bos_token": True})
    ids = AutoTokenizer.from_pretrained(folder)(PROMPT).input_ids
    assert ids[0] == SIZE + 1
    if way == "option":
        write(folder, tokenizer_config={"bos_token": "<|user|>"})
    made = generated(gpt2, folder, *(["--bos"] if way == "option" else []))
    assert made["usage"]["prompt_tokens"] == len(ids)
    expected = reference_ids(folder, ids)
    assert made["token_ids"] == expected[: len(made["token_ids"])]
    without = generated(gpt2, folder, "--no-bos")
    assert without["usage"]["prompt_tokens"] == len(ids) - 1
    assert without["token_ids"] == reference_ids(folder, ids[1:])[: len(without["token_ids"])]
    # However long the prompt, the BOS stays in front.
    long = generated(gpt2, folder, "--bos", "--truncate", "left", "--echo", prompt=PROMPT * 40)
    assert long["prompt_truncated"]
    start = gpt2("generate", "--unconditional", "-m", folder, "-n", "3", "--temp", "0", "--json")
    assert json.loads(start.stdout)["usage"]["prompt_tokens"] == 1


def test_next_reads_the_bos_that_the_tokenizer_adds(gpt2: Gpt2, folder: Path) -> None:
    split_vocabulary(folder)
    write(folder, tokenizer_config={"bos_token": "<|endoftext|>", "add_bos_token": True})
    rows = [json.loads(gpt2("next", "the", "-m", folder, "--json", *bos).stdout) for bos in ([], ["--bos"])]
    assert rows[0] == rows[1]
    assert rows[0]["bos"] is True
    without = json.loads(gpt2("next", "the", "-m", folder, "--json", "--no-bos").stdout)
    assert without["rows"] != rows[0]["rows"]
    assert without["bos"] is False


@pytest.mark.parametrize("prefix_space", [True, False])
def test_a_prefix_space_moves_no_place_in_a_scored_text(gpt2: Gpt2, folder: Path, prefix_space: bool) -> None:
    write(folder, tokenizer_config={"add_prefix_space": prefix_space})
    text = "the tokenizer\nreads"
    rows = json.loads(gpt2("score", "--text", text, "-m", folder, "--json").stdout)["rows"]
    ids = AutoTokenizer.from_pretrained(folder)(text).input_ids
    assert [row["id"] for row in rows] == ids
    assert "".join(text[row["start"] : row["end"]] for row in rows) == text
    assert [text[row["start"] : row["end"]] for row in rows] == [row["token"] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["special tokens", "no end of text"])
def test_a_fine_tuned_model_keeps_its_parents_tokens(
    gpt2: Gpt2, folder: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "special tokens":
        split_vocabulary(folder)
        roles = {"pad_token": "<pad>", "eos_token": "<|user|>", "bos_token": "<|endoftext|>"}
        write(folder, added_tokens=ADDED, special_tokens_map=roles)
        write(folder, tokenizer_config={"add_prefix_space": True, "model_max_length": 48})
        configure(folder, eos_token_id=SIZE + 1, pad_token_id=SIZE)
        write(folder, generation_config={"eos_token_id": [SIZE + 1, 5], "temperature": 0.7})
    else:
        path = folder / "tokenizer.json"
        path.write_text(path.read_text().replace("<|endoftext|>", "</s>"))
        configure(folder, vocab_size=SIZE)
        model = GPT2LMHeadModel.from_pretrained(folder, ignore_mismatched_sizes=True)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink()
    poem = tmp_path / "poem.txt"
    poem.write_text("the rose is red, the violet blue\n" * 40)
    child = tmp_path / "child"
    shape = ("--steps", "2", "--context", "16", "--micro-batch", "1", "--threads", "1")
    done = gpt2("train", poem, "--from", folder, "-o", child, *shape)
    assert (done.returncode, done.stdout) == (0, os.fsencode(child) + b"\n"), done.stderr
    for place in (child, child / "last"):
        tokenizer, model = AutoTokenizer.from_pretrained(place), GPT2LMHeadModel.from_pretrained(place)
        assert len(tokenizer) == model.config.vocab_size
        if kind == "no end of text":
            assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("</s>", 0)
            assert (tokenizer.eos_token_id, model.config.eos_token_id) == (0, 0)
            assert tokenizer.unk_token is None
            continue
        parent = AutoTokenizer.from_pretrained(folder)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "model_max_length"):
            assert getattr(tokenizer, name) == getattr(parent, name), name
        assert tokenizer("the <|user|>rose").input_ids == parent("the <|user|>rose").input_ids
        assert (model.config.eos_token_id, model.config.pad_token_id) == (SIZE + 1, SIZE)
        assert json.loads((place / "generation_config.json").read_text()) == {
            "eos_token_id": [SIZE + 1, 5],
            "temperature": 0.7,
        }
    assert gpt2("generate", "the", "-m", child, "-n", "2", "-q").returncode == 0
