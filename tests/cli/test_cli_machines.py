"""Commands on machines and in environments that lack what most have."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from checkpoints import save_model_folder
from conftest import COMMAND, Gpt2, obey_permissions, run_limited

from gpt2cli.cli.machine_errors import OUT_OF_MEMORY, explain_machine_error
from gpt2cli.ops.backend import kernels_are_built

pytestmark = pytest.mark.slow

NO_HOME = "~/.cache/huggingface/hub: there is no home folder."
NOBODY = ["unshare", "--user", "--map-user=12345"]


def has_users() -> bool:
    """Return whether a process can have a user id that no user has."""
    try:
        done = subprocess.run([*NOBODY, "true"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


needs_users = pytest.mark.skipif(not has_users(), reason="needs user namespaces and the unshare command")
needs_kernels = pytest.mark.skipif(not kernels_are_built(), reason="the kernels are not built")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("machines")
    save_model_folder(folder)
    return folder


def run_as_nobody(
    arguments: Sequence[str], environment: dict[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without a name or a home folder, as `docker run --user` does."""
    homes = ("HOME", "HF_HOME", "HF_ASSETS_CACHE")
    return subprocess.run(
        [*NOBODY, *COMMAND, *arguments],
        env={name: value for name, value in environment.items() if name not in homes},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@needs_users
@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "generate Once -m stories -n 2",
        "generate Once -n 2",
        "tokenize text",
        "score -m stories text",
        "next Once -m stories",
        "rank -m stories text",
        "info",
        "models list",
        "models prune",
        "models show stories",
        "models verify stories",
        "generate --help",
        "--show-completion bash",
    ],
)
def test_a_user_without_a_home_can_do_all_that_keeps_nothing(
    environment: dict[str, str], tmp_path: Path, line: str
) -> None:
    (tmp_path / "text").write_text("Once upon a time\n")
    done = run_as_nobody(line.split(), environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("\n") <= 1
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


@needs_users
@pytest.mark.slow
def test_a_user_without_a_home_trains(environment: dict[str, str], tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "text").write_text(Path(__file__).read_text() * 2)
    words = ["train", "text", "--from", str(checkpoint), "--steps", "1", "-o", "out", "-q"]
    done = run_as_nobody(words, environment, tmp_path)
    assert (done.returncode, done.stdout) == (0, "out\n"), done.stderr


@needs_users
@needs_kernels
def test_conversions_without_a_home_are_one_note(environment: dict[str, str], tmp_path: Path) -> None:
    words = ["generate", "Once", "-m", "stories", "-n", "2", "--quantize", "int8", "--device", "cpu"]
    done = run_as_nobody(words, environment, tmp_path)
    assert done.returncode == 0
    assert done.stderr == (
        "The converted weights could not be saved: ~/.cache/huggingface/assets: there is no home folder.\n"
    )
    assert list(tmp_path.iterdir()) == []


@needs_users
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "generate Once -m gpt2",
            "~/.cache/huggingface/hub: there is no home folder. Set HF_HOME to a folder.",
        ),
        ("download gpt2", "~/.cache/huggingface/hub: there is no home folder. Set HF_HOME to a folder."),
        ("generate Once -m gpt2 --offline", "gpt2 is not on this machine, and downloads are off."),
        ("download --dry-run gpt2", "http://127.0.0.1:9 cannot be reached."),
        ("generate Once -m ~/model", "There is no model at ~/model."),
        ("generate Once -m ~nouser/model", "There is no model at ~nouser/model."),
        ("--install-completion bash", "there is no home folder to install the completion in. Set HOME"),
    ],
)
def test_what_needs_a_home_folder_says_so(
    environment: dict[str, str], tmp_path: Path, line: str, message: str
) -> None:
    done = run_as_nobody(line.split(), environment, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: {message}")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", [0o555, 0o000])
@pytest.mark.parametrize("line", ["generate Once -n 2", "models list", "info", "models prune"])
def test_a_home_that_is_closed_is_passed_over(
    environment: dict[str, str], tmp_path: Path, line: str, mode: int
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=mode)
    values = {name: value for name, value in environment.items() if name != "HF_HOME"}
    done = run_limited(line.split(), values | {"HOME": str(home)}, obey_permissions)
    assert done.returncode == 0, done.stderr
    home.chmod(0o755)
    assert list(home.iterdir()) == []


@needs_kernels
def test_a_read_only_cache_serves_the_models_that_it_has(
    environment: dict[str, str], tmp_path: Path, checkpoint: Path
) -> None:
    hub = tmp_path / "hf" / "hub"
    snapshot = hub / "models--acme--tiny" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(checkpoint)
    (hub / "models--acme--tiny" / "refs").mkdir()
    (hub / "models--acme--tiny" / "refs" / "main").write_text("0" * 40)
    hub.chmod(0o555)
    words = ["generate", "Once", "-m", "acme/tiny", "-n", "2", "--quantize", "int8", "--device", "cpu"]
    hub.parent.chmod(0o555)
    done = run_limited(words, environment | {"HF_HOME": str(hub.parent)}, obey_permissions)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(b"The converted weights could not be saved: ")
    assert done.stderr.count(b"\n") == 1


ODD_VARIABLES: list[dict[str, str | None]] = [
    {"TERM": None, "COLUMNS": "0"},
    {"TERM": "nonsense", "COLUMNS": "-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "nonsense"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "utf-16"},
    {"TMPDIR": "/nonexistent"},
    {"PYTHONWARNINGS": "error"},
    {"OMP_NUM_THREADS": "nonsense"},
    {"PYTHONOPTIMIZE": "2"},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        ["generate", "Ünïcode →", "-m", "stories", "-n", "5", "--seed", "1", "--echo"],
        ["tokenize", "text", "--json", "--pieces"],
        ["score", "text", "-m", "stories"],
        ["models", "list"],
    ],
    ids=lambda line: line[0],
)
def test_an_odd_environment_changes_no_output(
    gpt2: Gpt2, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("Ünïcode → and 文\n", "utf-8")
    expected = gpt2(*line).stdout
    assert expected
    for variables in ODD_VARIABLES:
        odd = {name: value for name, value in environment.items() if name not in variables}
        odd |= {name: value for name, value in variables.items() if value is not None}
        done = subprocess.run([*COMMAND, *line], env=odd, capture_output=True, check=False, timeout=60)
        assert (done.returncode, done.stderr, done.stdout) == (0, b"", expected), variables


def test_help_is_whole_in_an_odd_environment(environment: dict[str, str]) -> None:
    for variables in ({"PYTHONIOENCODING": "ascii"}, {"COLUMNS": "0"}, {"COLUMNS": "1"}, {"TERM": ""}):
        done = subprocess.run(
            [*COMMAND, "generate", "--help"], env=environment | variables, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout


def in_a_removed_folder(arguments: Sequence[str], environment: dict[str, str], folder: Path) -> str:
    """Return the line that a command prints to stderr which runs in a folder that is gone."""
    line = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1)
    assert (done.returncode == 1) == (done.stderr.startswith("Error: "))
    return done.stderr


def test_a_current_folder_that_is_gone_is_named_where_it_matters(
    environment: dict[str, str], tmp_path: Path
) -> None:
    gone = "Error: the current folder no longer exists. Change to one that does.\n"
    generate = ["generate", "Once", "-m", "stories", "-n", "2", "--device", "cpu"]
    assert in_a_removed_folder(generate, environment, tmp_path) == ""
    assert in_a_removed_folder([*generate, "-o", str(tmp_path / "out")], environment, tmp_path) == ""
    assert in_a_removed_folder([*generate, "-o", "out"], environment, tmp_path) == gone
    assert in_a_removed_folder(["models", "list"], environment | {"HF_HOME": "hf"}, tmp_path) == gone
    assert in_a_removed_folder(["train", "/etc/passwd", "-o", "/out"], environment, tmp_path) == (
        "Error: Training needs PyTorch, and the current folder no longer exists. Change to one that does.\n"
    )


@pytest.mark.parametrize("lost", ["missing folder", "full disk"])
def test_an_output_that_cannot_be_written_is_named_as_it_was_given(
    environment: dict[str, str], tmp_path: Path, lost: str
) -> None:
    text = tmp_path / "text"
    text.write_text("Once upon a time\n" * 10_000)
    output = tmp_path / "missing" / "out" if lost == "missing folder" else tmp_path / "out"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = run_limited(["tokenize", str(text), "-o", str(output)], environment, limit)
    reason = "No such file or directory" if lost == "missing folder" else "File too large"
    assert (done.returncode, done.stderr.decode()) == (1, f"Error: {output}: {reason}.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_an_output_file_obeys_the_umask(environment: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = ["tokenize", "--text", "Once", "-o", str(output)]
    assert run_limited(words, environment, lambda: os.umask(0o077)).returncode == 0
    assert output.stat().st_mode & 0o777 == 0o600


def test_little_memory_and_few_files_suffice(environment: dict[str, str]) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))

    words = ["generate", "Once", "-m", "stories", "-n", "2", "--device", "cpu"]
    assert run_limited(words, environment, limit).returncode == 0


def test_memory_that_torch_lacks_is_no_bug() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert explain_machine_error(caught.value) == OUT_OF_MEMORY
    assert explain_machine_error(MemoryError()) == OUT_OF_MEMORY
    assert explain_machine_error(RuntimeError("another")) is None
    assert explain_machine_error(ValueError("out of memory")) is None
