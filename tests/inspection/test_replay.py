"""Records of samples: written, run again and compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backends import needs_kernels
from checkpoints import save_checkpoint, save_model_folder
from conftest import Gpt2

import gpt2cli
from gpt2cli.cli.options.sampling import CompletionOptions
from gpt2cli.errors import InputError
from gpt2cli.hub.checks.content_hashes import content_hashes
from gpt2cli.hub.model_files import find_model
from gpt2cli.inspection.replay import DECIDING, KINDS_OF_SETTINGS, SampleRecord, read_records, replay
from gpt2cli.language_model import LanguageModel
from gpt2cli.ops.backend import choose_instruction_set, instruction_set
from gpt2cli.ops.compute import Compute
from gpt2cli.text.token_text import token_text

PROMPT = "Once upon a time"
LEAST = {"index": 1, "text": "", "token_ids": [], "prompt": None, "seed": 1, "model": "m", "settings": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    save_model_folder(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return gpt2cli.load(str(folder), device="cpu", threads=1)


@pytest.fixture(autouse=True)
def fastest_kernels() -> Iterator[None]:
    yield
    choose_instruction_set(None)


def record_of(model: LanguageModel, index: int = 1, **settings: Any) -> dict[str, Any]:
    """Return the record of a sample, as the command line writes it and a reader parses it."""
    options = CompletionOptions(
        **{"max_tokens": 12, "seed": 5, "temperature": 1.0, "num_samples": 3, **settings}
    )
    run = model.continuation(PROMPT, options, 3)
    sample = run.results()[index - 1]
    record = {
        "index": index,
        "text": sample.text,
        "token_ids": list(sample.token_ids),
        **run.record(options.report()),
    }
    loaded: dict[str, Any] = json.loads(json.dumps(record))
    return loaded


def test_a_sample_in_the_middle_is_made_again(model: LanguageModel) -> None:
    record = record_of(model, 2, top_k=0, bias=[("x", 0.1234567891)], stop=["qq"])
    done = replay(model, SampleRecord(record, "here"))
    assert (done.same, done.index, done.tokens, done.token, list(done.changes)) == (True, 2, 12, None, [])


@needs_kernels
def test_a_record_is_made_again_on_other_threads(folder: Path, model: LanguageModel) -> None:
    record = record_of(model)
    assert record["settings"]["threads"] == 1
    several = gpt2cli.load(str(folder), device="cpu", threads=3)
    done = replay(several, SampleRecord(record, "here"))
    assert (done.same, list(done.changes)) == (True, [])


@needs_kernels
def test_a_record_is_made_again_with_the_kernels_that_made_it(model: LanguageModel) -> None:
    choose_instruction_set("generic")
    record = record_of(model)
    choose_instruction_set(None)
    assert record["settings"]["kernels"] == "generic"
    done = replay(model, SampleRecord(record, "here"))
    assert (done.same, list(done.changes)) == (True, [])
    record["settings"]["kernels"] = "sse9"
    done = replay(model, SampleRecord(record, "here"))
    assert list(done.changes) == [f"kernels was sse9, now {instruction_set()}"]


def test_a_changed_token_is_found(model: LanguageModel) -> None:
    record = record_of(model)
    now = token_text(model.tokenizer.token_bytes(record["token_ids"][4]))
    record["token_ids"][4] = 10**6
    done = replay(model, SampleRecord(record, "here"))
    assert (done.same, done.tokens, done.token, done.recorded, done.now) == (False, 4, 5, "id 1000000", now)
    del record["token_ids"][4:]
    done = replay(model, SampleRecord(record, "here"))
    assert (done.same, done.token, done.recorded, done.now) == (False, 5, None, now)


def test_a_changed_text_is_found(model: LanguageModel) -> None:
    record = record_of(model)
    record["text"] += "!"
    done = replay(model, SampleRecord(record, "here"))
    assert (done.same, done.token, list(done.changes)) == (False, None, [])


def test_other_weights_and_versions_are_named(tmp_path: Path, model: LanguageModel) -> None:
    record = record_of(model)
    record["versions"]["gpt2cli"] = "0.0.1"
    save_model_folder(tmp_path)
    save_checkpoint(tmp_path, seed=9, vocab_size=320)
    done = replay(gpt2cli.load(str(tmp_path), device="cpu", threads=1), SampleRecord(record, "here"))
    assert done.token is not None
    assert list(done.changes) == [
        "model.safetensors has another content",
        f"gpt2cli was 0.0.1, now {gpt2cli.__version__}",
    ]


def test_a_hash_is_that_of_the_content_and_the_cache_knows_it(tmp_path: Path, folder: Path) -> None:
    files = find_model(str(folder))
    assert files is not None
    hashes = content_hashes(files)
    assert hashes.keys() == {"model.safetensors", "config.json", "tokenizer.json", "generation_config.json"}
    for name, value in hashes.items():
        assert value == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    # A blob that was never read cannot be anything but trusted.
    blob = tmp_path / "blobs" / ("a" * 64)
    blob.parent.mkdir()
    blob.touch()
    link = tmp_path / "snapshots" / "model.safetensors"
    link.parent.mkdir()
    link.symlink_to(Path("..") / "blobs" / blob.name)
    assert content_hashes(files._replace(weights=(link,)))["model.safetensors"] == "a" * 64


@pytest.mark.parametrize(
    ("told", "chosen", "expected"),
    [
        ({"backend": "numpy", "device": "cpu", "dtype": "float32"}, {}, ("cpu", "numpy", "float32", "none")),
        ({"backend": "compiled", "device": "cpu", "dtype": "int8"}, {}, ("cpu", "compiled", "auto", "int8")),
        ({"backend": "torch", "device": "cuda"}, {"device": "cpu"}, ("cpu", "auto", "auto", "none")),
        ({"device": "cpu", "dtype": "int8"}, {"dtype": "float16"}, ("cpu", "auto", "float16", "none")),
    ],
)
def test_where_it_computes_is_as_recorded_or_as_chosen(
    told: dict[str, str], chosen: dict[str, Any], expected: tuple[str, ...]
) -> None:
    compute = SampleRecord({"settings": told}, "here").compute(Compute(**chosen))
    assert (compute.device, compute.backend, compute.dtype, compute.quantize) == expected


def test_records_are_read_in_each_form_that_json_is_written_in(model: LanguageModel) -> None:
    one, two = record_of(model, 1), record_of(model, 2)
    lines = f"{json.dumps(one)}\n\n{json.dumps(two)}\n"
    for content in (lines, json.dumps([one, two]), json.dumps([one, two], indent=1)):
        assert [record.values["index"] for record in read_records(content, "x")] == [1, 2]
    assert [record.place for record in read_records(lines, "x")] == ["x, line 1", "x, line 3"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "x is empty"),
        ("tale\n", "x, line 1: this is not JSON"),
        ("[" * 100_000, "x, line 1: this is not JSON"),
        ("3", "x: this is no record"),
        ('[{"index": 1}]', "x, entry 1: a record needs 'text'"),
        (json.dumps(LEAST | {"index": 1 << 64}), "x: the record is damaged"),
    ],
)
def test_what_is_no_record_is_refused(content: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_records(content, "x")


@pytest.mark.parametrize(
    "settings",
    [
        *({"temperature": "hot"}, {"top_p": 7}, {"bias": ["x"]}, {"bias": [3]}, {"max_tokens": "9"}),
        *({"stop": "end"}, {"stop": [5]}, {"ban": 5}, {"max_tokens": 2.5}, {"top_k": True}, {"special": 1}),
        *(
            {"overflow": "x" * 5000},
            {"truncate": "up"},
            {"temperature": 10**400},
            {"bias": ["a=" + "x" * 5000]},
        ),
    ],
)
def test_damaged_settings_are_refused(model: LanguageModel, settings: dict[str, Any]) -> None:
    record = record_of(model)
    record["settings"] |= settings
    with pytest.raises(InputError, match="here: the settings are damaged") as caught:
        replay(model, SampleRecord(record, "here"))
    assert len(str(caught.value)) < 250


def test_the_type_of_each_setting_is_known() -> None:
    assert KINDS_OF_SETTINGS.keys() == set(DECIDING)


@pytest.mark.slow
def test_a_record_beside_the_text_is_replayed(gpt2: Gpt2, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tale.json"
    words = ["generate", PROMPT, "-m", folder, "-n", "9", "--seed", "3", "--num-samples", "2", "--echo", "-q"]
    shown = gpt2(*words, "--record", path)
    assert shown.stdout == gpt2(*words).stdout
    records = json.loads(path.read_text())
    assert [record["index"] for record in records] == [1, 2]
    assert records[0]["text"] in shown.stdout.decode()
    done = gpt2("replay", path)
    assert (done.returncode, done.stdout.decode().count("the same text, 9 tokens\n")) == (0, 2)
    records[1]["token_ids"][3] = 1
    done = gpt2("replay", "-", stdin=json.dumps(records).encode())
    assert done.returncode == 1
    assert b"sample 2: differs at token 4: " in done.stdout
    assert b"\n  nothing that the record knows has changed\n" in done.stdout
    refused = gpt2(*words, "--record", path, "-o", path)
    assert (refused.returncode, refused.stderr) == (
        2,
        b"Error: --record and -o name the same file. Choose one.\n",
    )
