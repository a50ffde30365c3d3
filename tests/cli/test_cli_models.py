"""`gpt2 models`, on a cache written by the real client."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import convert_model, save_model_folder
from conftest import COMMAND, Gpt2
from loopback_hub import LoopbackHub

from gpt2cli.hub.cache import assets_folder
from gpt2cli.hub.converted_files import converted_files
from gpt2cli.hub.listing import bundled_model
from gpt2cli.hub.model_files import find_model
from gpt2cli.ops.operations import Storage

pytestmark = pytest.mark.slow

REPO = "acme/tiny"
STORAGES: tuple[Storage, ...] = ("float16", "bfloat16")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_model_folder(folder)
    return folder


@pytest.fixture(scope="module")
def downloaded(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    with LoopbackHub() as hub:
        env = kept | {"HF_HOME": str(home), "HF_ENDPOINT": hub.url}
        for repo in (REPO, "openai-community/gpt2"):
            hub.add(repo, checkpoint)
            subprocess.run([*COMMAND, "download", "-q", repo], env=env, check=True)
    return home


@pytest.fixture
def cache(downloaded: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that cache, which commands and this process see as the user's."""
    home = Path(environment["HF_HOME"])
    shutil.copytree(downloaded, home, symlinks=True)
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.delenv("HF_ASSETS_CACHE", raising=False)
    return home / "hub"


def snapshot(cache: Path, repo: str = REPO) -> Path:
    (folder,) = (cache / f"models--{repo.replace('/', '--')}" / "snapshots").iterdir()
    return folder


@pytest.fixture
def bundled() -> list[str]:
    model = bundled_model()
    return [model.name] if model else []


@pytest.mark.slow
def test_the_list_names_models_with_size_revision_and_path(
    gpt2: Gpt2, cache: Path, bundled: list[str]
) -> None:
    result = gpt2("models", "list")
    assert (result.returncode, result.stderr) == (0, b"")
    header, *rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert header == ["NAME", "KIND", "SIZE", "REVISION", "PATH"]
    assert [row[0] for row in rows] == [*bundled, REPO, "gpt2"]
    folder = snapshot(cache)
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert rows[-2][1:] == ["model", f"{size / 1000:.1f} kB", folder.name[:8], str(folder)]


def test_the_list_as_json_has_whole_revisions_and_bytes(gpt2: Gpt2, cache: Path, bundled: list[str]) -> None:
    records = json.loads(gpt2("models", "list", "--json").stdout)
    folder = snapshot(cache)
    assert [record["name"] for record in records] == [*bundled, REPO, "gpt2"]
    assert records[-2] == {
        "name": REPO,
        "kind": "model",
        "dtype": None,
        "repo": REPO,
        "revision": folder.name,
        "path": str(folder),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


def test_converted_weights_are_listed_under_the_model_they_were_made_from(
    gpt2: Gpt2, cache: Path, checkpoint: Path, bundled: list[str]
) -> None:
    convert_model(REPO, "float16")
    convert_model(str(checkpoint), "bfloat16")
    records = json.loads(gpt2("models", "list", "--json").stdout)
    models, converted = records[: len(bundled) + 2], records[len(bundled) + 2 :]
    assert {record["kind"] for record in models} == {"model"}
    for record in converted:
        path = Path(record.pop("path"))
        assert path.parent == cache.parent / "assets" / "gpt2cli"
        assert record.pop("bytes") == path.stat().st_size
        assert record.pop("kind") == "converted"
    of_repo = {"dtype": "float16", "repo": REPO, "revision": snapshot(cache).name}
    of_path = {"dtype": "bfloat16", "repo": None, "revision": None}
    assert {record.pop("name"): record for record in converted} == {REPO: of_repo, str(checkpoint): of_path}
    lines = gpt2("models", "list").stdout.decode().splitlines()
    rows = [line.split("\t") for line in lines[-2:]]
    assert sorted(row[:2] for row in rows) == sorted([[REPO, "float16"], [str(checkpoint), "bfloat16"]])


def test_a_list_of_converted_weights_is_made_without_numpy(cache: Path, environment: dict[str, str]) -> None:
    convert_model(REPO, "float16")
    command = [sys.executable, "-X", "importtime", *COMMAND[1:], "models", "list", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert '"converted"' in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "gpt2cli.hub.converted_files" in loaded
    assert not {"numpy", "torch", "huggingface_hub"} & loaded


def test_converted_weights_that_have_changed_are_found_and_made_again(gpt2: Gpt2, cache: Path) -> None:
    convert_model(REPO, "float16")
    (file,) = assets_folder().glob("*.safetensors")
    content = file.read_bytes()
    assert b"\tchecksum\tok\n" in gpt2("models", "verify", REPO).stdout
    file.write_bytes(content[:-100] + bytes(100))
    result = gpt2("models", "verify", REPO)
    assert result.returncode == 1
    assert result.stderr.decode() == (
        f"Error: Damaged: {file}. To repair it: use the model, which makes it again.\n"
    )
    convert_model(REPO, "float16")
    assert file.read_bytes() == content


def test_a_damaged_converted_file_is_not_listed_but_pruned(gpt2: Gpt2, cache: Path) -> None:
    convert_model(REPO, "float16")
    (file,) = assets_folder().glob("*.safetensors")
    before = gpt2("models", "list").stdout
    file.write_bytes(b"damaged")
    assert gpt2("models", "list").stdout == before[: before.rstrip().rindex(b"\n") + 1]
    assert gpt2("models", "prune", "--dry-run").stdout == f"BYTES\tPATH\n7\t{file}\n".encode()


def test_an_empty_cache_lists_no_more_than_the_bundled_model(gpt2: Gpt2, bundled: list[str]) -> None:
    lines = gpt2("models", "list").stdout.decode().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["NAME", *bundled]


def test_a_model_is_described_the_same_in_a_table_and_in_json(gpt2: Gpt2, cache: Path) -> None:
    shown = gpt2("models", "show", "gpt2")
    facts = json.loads(gpt2("models", "show", "--json", "gpt2").stdout)
    folder = snapshot(cache, "openai-community/gpt2")
    assert facts == {
        "model": "gpt2",
        "architecture": {
            "family": "GPT-2",
            "paper": 'Radford et al., "Language Models are Unsupervised Multitask Learners" (2019)',
            "norm": "LayerNorm before each sub-block",
            "positions": "learned",
            "attention_pattern": "global",
            "attention_heads": "multi-head",
            "activation": "GELU by tanh",
            "residual": "sequential",
            "biases": "all matrices",
            "head": "tied",
        },
        "layers": 3,
        "heads": 4,
        "width": 24,
        "context": 48,
        "vocabulary": 320,
        "parameters": {
            "token_embedding": 7680,
            "position_embedding": 1152,
            "norms": 336,
            "attention": 7200,
            "mlp": 14184,
            "total": 30552,
        },
        "dtype": "float32",
        "bytes": (folder / "model.safetensors").stat().st_size,
        "license": "MIT",
        "revision": folder.name,
        "path": str(folder),
    }
    assert (shown.returncode, shown.stderr) == (0, b"")
    rows = dict(line.split("\t") for line in shown.stdout.decode().splitlines())
    assert rows["layers"] == "3"
    assert rows["architecture: attention heads"] == "multi-head"
    assert rows["parameters: token embedding"] == "7,680"
    assert rows["parameters: total"] == "30,552"
    assert rows["path"] == str(folder)


def test_a_model_that_is_not_here_says_how_to_get_it(gpt2: Gpt2) -> None:
    for command in ("show", "verify"):
        result = gpt2("models", command, "gpt2-xl")
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr == b"Error: gpt2-xl is not on this machine. Fetch it: gpt2 download gpt2-xl.\n"


def test_verification_names_the_damaged_file_and_the_repair(
    gpt2: Gpt2, cache: Path, checkpoint: Path
) -> None:
    sound = gpt2("models", "verify", REPO, checkpoint)
    assert sound.returncode == 0
    assert sound.stderr.decode() == (
        f"{checkpoint}: the hash of 4 files is unknown, so only the form was checked.\n"
    )
    rows = [line.split("\t") for line in sound.stdout.decode().splitlines()]
    assert rows[0] == ["MODEL", "FILE", "BYTES", "CHECK", "RESULT"]
    assert [(row[1], row[3], row[4]) for row in rows[1:]] == [
        ("config.json", "git-sha1", "ok"),
        ("tokenizer.json", "git-sha1", "ok"),
        ("generation_config.json", "git-sha1", "ok"),
        ("model.safetensors", "sha256", "ok"),
        ("config.json", "form", "unverified"),
        ("tokenizer.json", "form", "unverified"),
        ("generation_config.json", "form", "unverified"),
        ("model.safetensors", "form", "unverified"),
    ]
    weights = snapshot(cache) / "model.safetensors"
    data = weights.read_bytes()
    weights.resolve().write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    damaged = gpt2("models", "verify", "--json", "gpt2", REPO)
    assert damaged.returncode == 1
    assert damaged.stderr.decode() == (
        f"Error: Damaged: {weights}. To repair it: gpt2 download --force {REPO}.\n"
    )
    records = json.loads(damaged.stdout)
    assert [record["path"] for record in records if record["problem"]] == [str(weights)]
    assert [record["result"] for record in records] == [*["ok"] * 7, "damaged"]


def test_without_a_hash_a_model_of_the_cache_is_unverified_and_the_way_to_one_is_told(
    gpt2: Gpt2, cache: Path
) -> None:
    weights = snapshot(cache) / "model.safetensors"
    blob = weights.resolve()
    weights.unlink()
    blob.rename(weights)
    result = gpt2("models", "verify", REPO)
    assert result.returncode == 0
    assert result.stdout.decode().splitlines()[-1].split("\t")[3:] == ["form", "unverified"]
    assert result.stderr.decode() == (
        f"{REPO}: the hash of 1 file is unknown, so only the form was checked. "
        f"To learn it: gpt2 download --force {REPO}.\n"
    )


def test_removal_asks_for_a_yes_where_nobody_can_be_asked(gpt2: Gpt2, cache: Path) -> None:
    result = gpt2("models", "rm", REPO)
    assert (result.returncode, result.stdout) == (2, b"")
    assert (
        result.stderr == b"Error: There is no terminal to ask on. Use --yes to remove without being asked.\n"
    )
    assert find_model(REPO) is not None


def test_removal_takes_all_and_prints_the_bytes(gpt2: Gpt2, cache: Path) -> None:
    folder = snapshot(cache).parent.parent
    legacy = cache / "models--gpt2"
    shutil.copytree(cache / "models--openai-community--gpt2", legacy, symlinks=True)
    result = gpt2("models", "rm", "-y", REPO, "124M")
    assert result.returncode == 0
    header, *rows = [line.split("\t") for line in result.stdout.decode().splitlines()]
    assert header == ["BYTES", "PATH"]
    assert [row[1] for row in rows] == [
        str(folder),
        str(cache / "models--openai-community--gpt2"),
        str(legacy),
    ]
    assert result.stderr.decode() == f"Freed {sum(int(row[0]) for row in rows):,} bytes.\n"
    assert not list(cache.glob("models--*"))


def test_removal_takes_the_weights_converted_from_a_model_along(gpt2: Gpt2, cache: Path) -> None:
    for name in (REPO, "gpt2"):
        for storage in STORAGES:
            convert_model(name, storage)
    files = {file.path: file.model for file in converted_files()}
    own = [path for path, model in files.items() if model == snapshot(cache)]
    repository = snapshot(cache).parent.parent
    result = gpt2("models", "rm", "-y", REPO)
    rows = [line.split("\t") for line in result.stdout.decode().splitlines()[1:]]
    assert [row[1] for row in rows] == [str(repository), *map(str, own)]
    assert result.stderr.decode() == f"Freed {sum(int(row[0]) for row in rows):,} bytes.\n"
    assert [file.path for file in converted_files()] == [path for path in files if path not in own]
    assert len(own) == len(STORAGES)
    assert find_model("gpt2") is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("stories", 2, "stories is part of gpt2cli. Only downloaded models can be removed."),
        (".", 2, ". is a path outside the cache. Only downloaded models can be removed."),
        ("gtp2", 1, "There is no model named 'gtp2'. Did you mean gpt2?"),
        ("gpt2-xl", 1, "gpt2-xl is not in the cache"),
    ],
)
def test_one_wrong_name_removes_nothing(gpt2: Gpt2, cache: Path, name: str, code: int, message: str) -> None:
    result = gpt2("models", "rm", "-y", REPO, name)
    assert (result.returncode, result.stdout) == (code, b"")
    assert result.stderr.decode().startswith(f"Error: {message}")
    assert find_model(REPO) is not None


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"\n", 1), (b"\x03", -2)])
def test_a_terminal_is_asked_before_anything_is_removed(
    cache: Path, environment: dict[str, str], answer: bytes, code: int
) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "models", "rm", REPO],
        env=environment,
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
        start_new_session=True,
        preexec_fn=own_terminal,
    )
    os.close(slave)
    seen = b""
    while b"[y/N] " not in seen:
        seen += os.read(master, 65536)
    assert os.fsencode(snapshot(cache).parent.parent) in seen
    os.write(master, answer)
    out, _ = process.communicate(timeout=30)
    os.close(master)
    assert process.returncode == code
    assert (find_model(REPO) is None) is (code == 0)
    assert bool(out) is (code == 0)


def own_terminal() -> None:
    # Only a terminal of its own sends a process the signal of Ctrl-C.
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_pruning_shows_before_it_removes(gpt2: Gpt2, cache: Path) -> None:
    assert gpt2("models", "prune").stderr == b"Nothing to prune.\n"
    rest = snapshot(cache).parent.parent / "blobs" / f"{'a' * 64}.12345678.incomplete"
    rest.write_bytes(b"1234")
    table = f"BYTES\tPATH\n4\t{rest}\n".encode()
    assert gpt2("models", "prune", "--dry-run").stdout == table
    assert gpt2("models", "prune").returncode == 2
    assert rest.exists()
    result = gpt2("models", "prune", "-y")
    assert (result.returncode, result.stdout, result.stderr) == (0, table, b"Freed 4 bytes.\n")
    assert not rest.exists()
    assert find_model(REPO) is not None


def test_pruning_removes_all_converted_weights_and_the_rests_of_conversions(gpt2: Gpt2, cache: Path) -> None:
    for storage in STORAGES:
        convert_model(REPO, storage)
    kept = assets_folder()
    rest = kept / ".tiny.int8.safetensors.123.tmp"
    rest.write_bytes(b"1234")
    files = {str(path): path.stat().st_size for path in kept.iterdir() if path.suffix != ".stamp"}
    assert len(files) == len(STORAGES) + 1
    plan = gpt2("models", "prune", "--dry-run").stdout.decode()
    rows = [line.split("\t") for line in plan.splitlines()[1:]]
    assert {path: int(size) for size, path in rows} == files
    assert {str(path) for path in kept.iterdir() if path.suffix != ".stamp"} == files.keys()
    result = gpt2("models", "prune", "-y")
    assert (result.returncode, result.stdout.decode()) == (0, plan)
    assert result.stderr.decode() == f"Freed {sum(files.values()):,} bytes.\n"
    assert list(kept.iterdir()) == []
    assert gpt2("models", "prune").stderr == b"Nothing to prune.\n"
    assert find_model(REPO) is not None
