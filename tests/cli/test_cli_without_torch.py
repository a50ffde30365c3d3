"""The command line where PyTorch is not installed, as the plain package leaves it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from checkpoints import save_model_folder
from conftest import Gpt2, hidden

pytestmark = pytest.mark.slow

INSTALL = b"pip install 'gpt2cli[torch]'"
GPU_NOTE = b"Computing on the CPU: the NVIDIA GPU needs PyTorch. Install it: " + INSTALL + b"\n"
TEXT = "The cat sat on the mat."
COMMANDS = {
    "generate": ["generate", TEXT, "-n", "8", "--seed", "3"],
    "score": ["score", "--text", TEXT],
    "next": ["next", TEXT],
    "rank": ["rank", "lines.txt"],
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    save_model_folder(folder, vocab_size=300)
    return folder


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    return hidden(tmp_path / "no-torch", "torch")


@pytest.fixture
def with_gpu(tmp_path: Path) -> dict[str, str]:
    """Return variables with which a command finds an NVIDIA driver and no PyTorch."""
    folder = tmp_path / "gpu"
    driver = f"from gpt2cli.ops import backend\nbackend.DRIVER_FILES = ({str(folder / 'nvidiactl')!r},)\n"
    variables = hidden(folder, "torch", then=driver)
    (folder / "nvidiactl").touch()
    return variables


@pytest.fixture
def words(request: pytest.FixtureRequest, tmp_path: Path, checkpoint: Path) -> list[str]:
    """Return the command line that a test names, on the checkpoint."""
    (tmp_path / "lines.txt").write_text("The mat.\nThe cat.\n")
    given: Sequence[str] = COMMANDS[request.param]
    return [str(tmp_path / word) if word == "lines.txt" else word for word in (*given, "-m", str(checkpoint))]


each_command = pytest.mark.parametrize("words", COMMANDS, indirect=True)


@each_command
def test_a_command_on_the_cpu_does_the_same_without_pytorch(
    gpt2: Gpt2, without_torch: dict[str, str], words: list[str]
) -> None:
    light, full = gpt2(*words, "--device", "cpu", env=without_torch), gpt2(*words, "--device", "cpu")
    assert (light.returncode, light.stderr) == (0, b"")
    assert light.stdout
    assert light.stdout == full.stdout


@each_command
def test_a_gpu_that_only_pytorch_could_use_is_noted_once(
    gpt2: Gpt2, with_gpu: dict[str, str], words: list[str]
) -> None:
    noted, chosen = gpt2(*words, env=with_gpu), gpt2(*words, "--device", "cpu", env=with_gpu)
    assert (noted.returncode, noted.stderr) == (0, GPU_NOTE)
    assert (chosen.returncode, chosen.stderr) == (0, b"")
    assert noted.stdout == chosen.stdout
    assert gpt2(*words, "-q", env=with_gpu).stderr == b""


def test_tokenize_has_no_use_for_a_gpu(gpt2: Gpt2, with_gpu: dict[str, str]) -> None:
    done = gpt2("tokenize", "--text", "Hello", env=with_gpu)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"15496\n", b"")


def test_info_shows_what_is_missing(gpt2: Gpt2, with_gpu: dict[str, str]) -> None:
    done = gpt2("info", "--json", env=with_gpu)
    facts = json.loads(done.stdout)
    assert (facts["torch"], facts["device"]) == (None, "cpu")
    assert facts["nvidia_driver"] == f"found, unused without PyTorch: {INSTALL.decode()}"
    assert done.stderr == b""


def test_without_pytorch_and_kernels_numpy_computes(gpt2: Gpt2, tmp_path: Path, checkpoint: Path) -> None:
    variables = hidden(tmp_path / "bare", "torch", "gpt2cli.ops.kernels")
    done = gpt2("generate", TEXT, "-n", "4", "-m", checkpoint, "--json", env=variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["settings"]["backend"] == "numpy"


@pytest.mark.parametrize(
    ("arguments", "user"),
    [
        (["generate", "Once", "-m", "stories", "--device", "cuda"], b"The device cuda"),
        (["score", "--text", "Once", "-m", "stories", "--backend", "torch"], b"The torch backend"),
        (["train", __file__, "-o", "trained"], b"Training"),
    ],
    ids=["device", "backend", "train"],
)
def test_what_needs_pytorch_says_how_to_install_it(
    gpt2: Gpt2, without_torch: dict[str, str], arguments: list[str], user: bytes
) -> None:
    done = gpt2(*arguments, env=without_torch)
    assert (done.returncode, done.stdout) == (1, b"")
    assert (
        done.stderr
        == b"Error: " + user + b" needs PyTorch, which is not installed. Install it: " + INSTALL + b"\n"
    )
    assert not Path("trained").exists()


def test_a_pickled_model_says_which_file_needs_pytorch(
    gpt2: Gpt2, without_torch: dict[str, str], tmp_path: Path
) -> None:
    model = save_model_folder(tmp_path, vocab_size=300)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    done = gpt2("generate", TEXT, "-m", tmp_path, env=without_torch)
    assert (done.returncode, done.stdout) == (1, b"")
    expected = f"Error: {tmp_path}/pytorch_model.bin needs PyTorch, which is not installed. Install it: "
    assert done.stderr == expected.encode() + INSTALL + b"\n"
    assert gpt2("generate", TEXT, "-m", tmp_path).returncode == 0


def test_a_benchmark_names_no_version_and_leaves_out_who_needs_pytorch(
    gpt2: Gpt2, without_torch: dict[str, str], checkpoint: Path
) -> None:
    work = ["--rounds", "1", "-n", "3", "--prompt-tokens", "9", "--batch", "2", "--only", "decode"]
    done = gpt2("bench", "-m", checkpoint, *work, "--json", "--against", "transformers", env=without_torch)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["machine"]["torch"] is None
    assert report["left_out"] == {"transformers": f"torch cannot be imported. {INSTALL.decode()}"}
