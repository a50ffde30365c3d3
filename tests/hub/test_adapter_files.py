"""Adapters and their base models, in folders, in the cache and on a Hub; folders of other formats."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from checkpoints import save_checkpoint, save_model_folder
from conftest import Gpt2
from loopback_hub import LoopbackHub
from safetensors.torch import save_file

from gpt2cli.errors import HubError
from gpt2cli.hub.checks.verification import verify_model
from gpt2cli.hub.listing import cached_models
from gpt2cli.hub.model_facts import describe_model
from gpt2cli.hub.model_files import fetch_model, find_model

pytestmark = pytest.mark.slow

BASE, ADAPTER = "acme/tiny", "acme/tiny-lora"
PEFT_FILES = ["adapter_config.json", "adapter_model.safetensors"]
GENERATE = ("generate", "Once", "-n", "5", "-s", "1", "--device", "cpu")


def save_adapter(folder: Path, base: str, strength: float = 1.0) -> Path:
    """Save a LoRA adapter of the first layer's attention, in PEFT's files."""
    folder.mkdir(parents=True)
    settings = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 2, "lora_alpha": 2}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    module = "base_model.model.transformer.h.0.attn.c_attn"
    tensors = {
        f"{module}.lora_A.weight": torch.full((2, 24), strength),
        f"{module}.lora_B.weight": torch.linspace(-1, 1, 144).reshape(72, 2),
    }
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_model_folder(folder)
    return folder


@pytest.fixture
def hub(
    checkpoint: Path, tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add(BASE, checkpoint)
        hub.add(ADAPTER, save_adapter(tmp_path / "repository", BASE))
        environment["HF_ENDPOINT"] = hub.url
        for name in ("HF_HUB_CACHE", "HF_ASSETS_CACHE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HF_HOME", environment["HF_HOME"])
        yield hub


def error_of(name: str | Path, opened: bool = False) -> str:
    with pytest.raises(HubError) as caught:
        (fetch_model if opened else find_model)(str(name), **({"offline": True} if opened else {}))
    return str(caught.value)


def test_the_base_is_looked_up_by_path_and_then_beside_the_adapter(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(checkpoint, tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    for name, base in (("a", str(checkpoint)), ("b", "base"), ("c", "../base")):
        files = find_model(str(save_adapter(tmp_path / name, base)))
        assert files is not None
        assert files.folder == tmp_path / name
        assert files.config.samefile((checkpoint if name == "a" else tmp_path / "base") / "config.json")
        assert [path.name for path in files.tokenizer] == ["tokenizer.json"]
    monkeypatch.chdir("/")
    assert find_model(str(tmp_path / "c"))
    assert "which is not on this machine" in error_of(tmp_path / "b")


def test_the_weights_file_of_an_adapter_and_a_tokenizer_of_its_own_are_taken(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = save_adapter(tmp_path / "adapter", str(checkpoint))
    shutil.copy(checkpoint / "tokenizer.json", folder)
    files = find_model(str(folder / "adapter_model.safetensors"))
    assert files is not None
    assert files.adapter is not None
    assert files.tokenizer == (folder / "tokenizer.json",)


def test_an_adapter_with_a_value_head_beside_it_is_found_as_trl_saves_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = save_adapter(tmp_path / "adapter", str(checkpoint))
    # As trl does: the head stands alone under the name of a whole model's weights.
    torch.save({"v_head.summary.weight": torch.zeros(1, 24)}, folder / "pytorch_model.bin")
    files = find_model(str(folder))
    assert files is not None
    assert files.adapter is not None
    assert files.weights == (checkpoint / "model.safetensors",)


def test_an_adapter_beside_a_whole_model_is_merged_into_it_as_by_transformers(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    save_adapter(folder, "nobody/nothing")
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    files = find_model(str(folder))
    assert files is not None
    assert files.adapter is not None
    assert files.weights == (folder / "model.safetensors",)
    notes: list[str] = []
    files.read_checkpoint(notes.append)
    assert notes == [
        f"{folder / 'adapter_model.safetensors'}: merging this LoRA adapter into the model beside it."
    ]
    alone = find_model(str(folder / "model.safetensors"))
    assert alone is not None
    assert alone.adapter is None


def test_a_missing_base_is_one_line_that_says_how_to_get_it(tmp_path: Path, hub: LoopbackHub) -> None:
    hub.requests.clear()
    folder = save_adapter(tmp_path / "gone", "/nowhere/gpt2-large-mine")
    line = (
        f"{folder} is a LoRA adapter of /nowhere/gpt2-large-mine, which is not on this machine. "
        f"Set base_model_name_or_path in {folder}/adapter_config.json to the folder of its base, "
        "or to OWNER/NAME."
    )
    assert error_of(folder) == error_of(folder, opened=True) == line
    known = save_adapter(tmp_path / "known", "openai-community/gpt2-xl")
    assert error_of(known) == (
        f"{known} is a LoRA adapter of openai-community/gpt2-xl, which is not on this machine. "
        "Fetch it: gpt2 download openai-community/gpt2-xl."
    )
    assert "which cannot be opened: gpt2-xl is not on this machine, and downloads are off. Run gpt2" in (
        error_of(known, opened=True)
    )
    assert not hub.requests


@pytest.mark.parametrize("base", ["~nobody-here/x", "~nobody-here", "x" * 300 + "/y", "x\0y", "x/" * 5000])
def test_a_base_of_an_odd_name_is_one_line_that_names_the_adapter(tmp_path: Path, base: str) -> None:
    folder = save_adapter(tmp_path / "odd", base)
    line = error_of(folder)
    assert line.startswith(f"{folder} is a LoRA adapter of {base[:80]}")
    assert "completion" not in line
    assert len(line) < 600


def test_an_adapter_of_an_adapter_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    inner = save_adapter(tmp_path / "inner", str(checkpoint))
    outer = save_adapter(tmp_path / "outer", str(inner))
    itself = save_adapter(tmp_path / "itself", "../itself")
    assert f"{outer} is a LoRA adapter of {inner}, which is an adapter too." in error_of(outer)
    assert "which is an adapter too." in error_of(itself)


def test_an_adapter_on_the_hub_is_fetched_with_its_base(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str], tmp_path: Path, checkpoint: Path
) -> None:
    planned = gpt2("download", "--dry-run", ADAPTER).stdout.decode().splitlines()
    assert [line.split("\t")[1] for line in planned[1:]] == PEFT_FILES
    result = gpt2(*GENERATE, "-m", ADAPTER)
    assert result.returncode == 0, result.stderr
    names = [line.split(": ")[1].split()[0] for line in result.stderr.decode().splitlines()]
    base = ["config.json", "tokenizer.json", "generation_config.json", "model.safetensors"]
    assert names == [*PEFT_FILES, *base]
    hub.requests.clear()
    again = gpt2(*GENERATE, "-m", ADAPTER, "--offline")
    assert (again.stdout, again.stderr) == (result.stdout, b"")
    local = gpt2(*GENERATE, "-m", save_adapter(tmp_path / "local", str(checkpoint)))
    assert local.stdout == result.stdout != gpt2(*GENERATE, "-m", BASE).stdout
    assert not hub.requests
    downloaded = gpt2("download", ADAPTER)
    assert Path(downloaded.stdout.decode().strip()).parent.parent.name == "models--acme--tiny-lora"


def test_an_adapter_is_listed_shown_verified_and_removed_like_a_model(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str], tmp_path: Path
) -> None:
    assert gpt2("download", ADAPTER).returncode == 0
    assert [model.name for model in cached_models()] == [BASE, ADAPTER]
    files, base = find_model(ADAPTER), find_model(BASE)
    assert files is not None
    assert base is not None
    facts, plain = describe_model(files).to_dict(), describe_model(base).to_dict()
    assert facts["path"] == str(files.folder)
    assert facts["parameters"] == plain["parameters"]
    assert {check.problem for check in verify_model(files)} == {""}
    checked = [check.path for check in verify_model(files)]
    assert [path.name for path in checked[:2]] == PEFT_FILES
    assert set(files.weights) < set(checked)
    assert gpt2("models", "rm", "-y", BASE).returncode == 0
    assert "Fetch it: gpt2 download acme/tiny." in gpt2("models", "show", ADAPTER).stderr.decode()
    assert cached_models() == []
    assert gpt2("models", "rm", "-y", ADAPTER).returncode == 0
    assert find_model(ADAPTER) is None


def test_an_adapter_that_is_not_supported_is_refused_before_its_weights_are_fetched(
    hub: LoopbackHub, tmp_path: Path, gpt2: Gpt2
) -> None:
    folder = save_adapter(tmp_path / "prompt", BASE)
    (folder / "adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    hub.add("acme/prompt", folder)
    result = gpt2("generate", "Once", "-m", "acme/prompt", "-q")
    assert result.returncode == 1
    assert b"adapters of the type 'PROMPT_TUNING' are not supported" in result.stderr
    assert not [path for path in hub.paths if path.endswith("adapter_model.safetensors")]


@pytest.mark.slow
def test_training_can_begin_from_an_adapter(gpt2: Gpt2, checkpoint: Path, tmp_path: Path) -> None:
    folder = save_adapter(tmp_path / "adapter", str(checkpoint))
    text = tmp_path / "text.txt"
    text.write_text("Once upon a time there was a lark. " * 40)
    # One thread waits for no other on a busy machine.
    small = ("--steps", "1", "--context", "16", "--batch-tokens", "32", "--threads", "1")
    result = gpt2("train", text, "--from", folder, "-o", tmp_path / "run", "--learning-rate", "1e-30", *small)
    assert result.returncode == 0, result.stderr
    assert gpt2(*GENERATE, "-m", tmp_path / "run").stdout == gpt2(*GENERATE, "-m", folder).stdout


FOREIGN = {
    "tf_model.h5": ("TensorFlow weights", "from_tf=True"),
    "model.ckpt.index": ("a TensorFlow checkpoint", "OpenAI's are gpt2 to gpt2-xl"),
    "model-1000.data-00000-of-00001": ("a TensorFlow checkpoint", "transformers-cli convert"),
    "saved_model.pb": ("a TensorFlow SavedModel", "Use the PyTorch model"),
    "flax_model.msgpack": ("Flax weights", "from_flax=True"),
    "decoder_model.onnx": ("an ONNX model", "Use the PyTorch model"),
    "ckpt.pt": ("a PyTorch checkpoint", "Save its state_dict as model.safetensors"),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("has_config", [True, False])
def test_weights_of_another_format_are_named_with_what_helps(
    tmp_path: Path, name: str, has_config: bool
) -> None:
    if has_config:
        save_checkpoint(tmp_path)
        (tmp_path / "model.safetensors").unlink()
    (tmp_path / name).write_bytes(b"weights")
    title, remedy = FOREIGN[name]
    line = error_of(tmp_path)
    assert line.startswith(f"{tmp_path} holds {title} ({name}), which gpt2cli does not read. ")
    assert remedy in line
    assert error_of(tmp_path / name).startswith(f"{tmp_path / name} holds {title}, which gpt2cli does not")


def test_a_repository_of_another_format_is_named_before_anything_is_fetched(
    hub: LoopbackHub, tmp_path: Path, checkpoint: Path, gpt2: Gpt2
) -> None:
    folder = tmp_path / "foreign"
    shutil.copytree(checkpoint, folder)
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    hub.add("acme/foreign", folder)
    result = gpt2("generate", "Once", "-m", "acme/foreign")
    assert result.returncode == 1
    assert result.stderr.decode().startswith(
        "Error: acme/foreign holds TensorFlow weights (tf_model.h5), which gpt2cli does not read. Convert"
    )
    assert result.stderr.count(b"\n") == 1
    assert not [path for path in hub.paths if "/resolve/" in path]


def test_a_folder_that_lacks_more_names_what_may_help(tmp_path: Path, checkpoint: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "gpt2.fp32.safetensors")
    assert error_of(tmp_path / "model") == (
        f"{tmp_path / 'model'} is not a complete model: it lacks model.safetensors or pytorch_model.bin. "
        "If gpt2.fp32.safetensors is the model, name this file."
    )
    assert find_model(str(tmp_path / "model" / "gpt2.fp32.safetensors"))
    folder = save_adapter(tmp_path / "adapter", str(checkpoint))
    (folder / "adapter_model.safetensors").unlink()
    assert "is an adapter without its weights: it lacks adapter_model.safetensors or" in error_of(folder)
