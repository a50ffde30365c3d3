"""`gpt2 download`, through the real client against a Hub on loopback."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import save_checkpoint, save_model_folder, save_tokenizer
from conftest import COMMAND, Gpt2
from families import save_family
from loopback_hub import LoopbackHub
from tokenizers import Tokenizer

from gpt2cli.hub.checks.verification import verify_model
from gpt2cli.hub.model_files import find_model

pytestmark = pytest.mark.slow

REPO = "acme/tiny"
# "Hello world" in GPT-2's vocabulary.
HELLO = b"15496 995\n"
NEEDED = ["config.json", "tokenizer.json", "model.safetensors"]
# Fetched where they are listed.
COMPANIONS = [
    "tokenizer_config.json",
    "added_tokens.json",
    "special_tokens_map.json",
    "generation_config.json",
]
DECOYS = ["tf_model.h5", "pytorch_model.bin", "flax_model.msgpack", "README.md", "vocab.json"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("download")
    save_model_folder(folder)
    (folder / "generation_config.json").unlink()
    for name in DECOYS:
        (folder / name).write_bytes(b"decoy")
    return folder


@pytest.fixture
def hub(
    checkpoint: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add(REPO, checkpoint)
        environment["HF_ENDPOINT"] = hub.url
        monkeypatch.setenv("HF_HOME", environment["HF_HOME"])
        yield hub


def snapshot(environment: dict[str, str], hub: LoopbackHub, repo: str = REPO, revision: str = "main") -> Path:
    commit = hub.repositories[repo].refs[revision]
    return Path(environment["HF_HOME"], "hub", f"models--{repo.replace('/', '--')}", "snapshots", commit)


def is_sound(name: str) -> bool:
    files = find_model(name)
    return files is not None and not any(check.problem for check in verify_model(files))


def fetched(hub: LoopbackHub) -> list[str]:
    """Return the names of the files whose bodies were sent, in order."""
    paths = [request.path for request in hub.requests if request.method == "GET"]
    small = (".json", ".txt")
    sent = [
        path for path in paths if "/resolve/" in path and (path.startswith("/cdn/") or path.endswith(small))
    ]
    return [path.rpartition("/")[2] for path in sent]


def test_only_the_needed_files_are_fetched_and_the_folder_is_printed(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str], checkpoint: Path
) -> None:
    result = gpt2("download", REPO)
    folder = snapshot(environment, hub)
    assert result.returncode == 0
    assert result.stdout == os.fsencode(folder) + b"\n"
    assert result.stderr.decode().splitlines() == [
        f"Fetching {REPO}: {name} ({size})" for name, size in zip(NEEDED, sizes(checkpoint), strict=True)
    ]
    assert fetched(hub) == NEEDED
    assert not [path for path in hub.paths if any(name in path for name in DECOYS)]
    for name in NEEDED:
        assert (folder / name).read_bytes() == (checkpoint / name).read_bytes()


@pytest.mark.parametrize("vocabulary", [["tokenizer.json"], ["vocab.json", "merges.txt"]], ids="-".join)
def test_the_files_beside_the_vocabulary_are_fetched_before_the_weights(
    gpt2: Gpt2,
    hub: LoopbackHub,
    environment: dict[str, str],
    checkpoint: Path,
    tmp_path: Path,
    vocabulary: list[str],
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    Tokenizer.from_file(str(folder / "tokenizer.json")).model.save(str(folder))
    if "tokenizer.json" not in vocabulary:
        (folder / "tokenizer.json").unlink()
    for number, name in enumerate(COMPANIONS):
        # The client fetches the same content only once.
        (folder / name).write_text("{}" + number * "\n")
    hub.add("acme/whole", folder)
    assert gpt2("download", "acme/whole").returncode == 0
    assert fetched(hub) == ["config.json", *vocabulary, *COMPANIONS, "model.safetensors"]
    place = snapshot(environment, hub, "acme/whole")
    assert sorted(path.name for path in place.iterdir()) == sorted(fetched(hub))
    hub.requests.clear()
    # What an earlier download left without them is complete too.
    for name in COMPANIONS:
        (place / name).unlink()
    assert gpt2("generate", "Once", "-n", "2", "-m", "acme/whole").returncode == 0
    assert hub.requests == []


def sizes(folder: Path) -> list[str]:
    in_bytes = [(folder / name).stat().st_size for name in NEEDED]
    return [f"{size} bytes" if size < 1000 else f"{size / 1000:.1f} kB" for size in in_bytes]


@pytest.mark.slow
def test_a_model_is_fetched_verified_continued_from_and_removed(
    gpt2: Gpt2, hub: LoopbackHub, checkpoint: Path
) -> None:
    generate = ("generate", "Once upon", "--seed", "1", "-n", "12", "--json")
    # generate fetches by itself what is missing.
    first = gpt2(*generate, "-m", REPO)
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["revision"] == hub.repositories[REPO].refs["main"]
    assert report["text"] == json.loads(gpt2(*generate, "-m", checkpoint).stdout)["text"]
    assert gpt2("download", REPO, "--offline").returncode == 0
    verified = gpt2("models", "verify", REPO)
    assert verified.returncode == 0
    assert verified.stdout.count(b"\tok\n") == len(NEEDED)
    hub.requests.clear()
    again = json.loads(gpt2(*generate, "-m", REPO).stdout)
    assert again["token_ids"] == report["token_ids"]
    assert hub.requests == []
    assert gpt2("models", "rm", "-y", REPO).returncode == 0
    assert gpt2(*generate, "-m", REPO, "--offline").returncode == 1


def test_the_client_reports_nothing_about_its_user(hub: LoopbackHub, environment: dict[str, str]) -> None:
    del environment["HF_HUB_DISABLE_TELEMETRY"]
    subprocess.run([*COMMAND, "download", "-q", REPO], env=environment, capture_output=True, check=True)
    assert all(f"/{REPO}/" in path for path in hub.paths)


@pytest.mark.slow
def test_a_second_run_opens_no_connection(gpt2: Gpt2, hub: LoopbackHub) -> None:
    first = gpt2("download", REPO)
    seen = len(hub.requests)
    second = gpt2("download", REPO)
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, b"")
    assert len(hub.requests) == seen
    for env in ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}):
        assert gpt2("download", REPO, env=env).stdout == first.stdout


def test_quiet_leaves_stderr_empty(gpt2: Gpt2, hub: LoopbackHub) -> None:
    result = gpt2("download", "-q", REPO)
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.slow
def test_each_model_has_its_line(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str], checkpoint: Path
) -> None:
    hub.add("acme/other", checkpoint)
    result = gpt2("download", REPO, "acme/other", REPO)
    folders = [snapshot(environment, hub, repo) for repo in (REPO, "acme/other", REPO)]
    assert result.stdout.splitlines() == [os.fsencode(folder) for folder in folders]


@pytest.mark.slow
def test_a_sharded_model_is_fetched_whole(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str], tmp_path: Path, checkpoint: Path
) -> None:
    sharded = tmp_path / "sharded"
    save_checkpoint(tmp_path / "whole", vocab_size=320).save_pretrained(sharded, max_shard_size="40KB")
    shutil.copy(checkpoint / "tokenizer.json", sharded)
    (sharded / "pytorch_model.bin").write_bytes(b"decoy")
    shards = sorted(path.name for path in sharded.glob("*.safetensors"))
    assert len(shards) > 1
    hub.add("acme/sharded", sharded)
    assert gpt2("download", "acme/sharded").returncode == 0
    settings = ["config.json", "tokenizer.json", "generation_config.json"]
    assert fetched(hub) == [*settings, "model.safetensors.index.json", *shards]
    assert is_sound("acme/sharded")
    (snapshot(environment, hub, "acme/sharded") / shards[1]).unlink()
    assert find_model("acme/sharded") is None


def test_old_files_serve_where_there_are_no_others(
    gpt2: Gpt2, hub: LoopbackHub, tmp_path: Path, checkpoint: Path
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    shutil.copy(checkpoint / "config.json", old)
    for name in ("pytorch_model.bin", "vocab.json", "merges.txt"):
        (old / name).write_text("{}")
    hub.add("acme/old", old)
    rows = gpt2("download", "--dry-run", "acme/old").stdout.decode().splitlines()
    assert [row.split("\t")[1] for row in rows[1:]] == [
        "config.json",
        "vocab.json",
        "merges.txt",
        "pytorch_model.bin",
    ]


@pytest.mark.slow
def test_a_revision_is_fetched_and_found_by_its_name(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str], tmp_path: Path, checkpoint: Path
) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(checkpoint, newer)
    save_checkpoint(newer, seed=1, vocab_size=320)
    commit = hub.add(REPO, newer, "v2")
    folder = snapshot(environment, hub, revision="v2")
    assert gpt2("download", f"{REPO}@v2").stdout == os.fsencode(folder) + b"\n"
    for name in (f"{REPO}@v2", f"{REPO}@{commit}"):
        found = find_model(name)
        assert found is not None
        assert found.config.parent == folder
    assert find_model(REPO) is None
    wrong = gpt2("download", f"{REPO}@v3")
    assert (wrong.returncode, wrong.stderr.decode()) == (
        1,
        f"Error: {REPO} has no revision v3. Use a branch, a tag or a full commit hash.\n",
    )


def test_an_alias_means_the_repository_and_both_of_its_cache_folders(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str], checkpoint: Path
) -> None:
    hub.add("openai-community/gpt2", checkpoint)
    folder = snapshot(environment, hub, "openai-community/gpt2")
    assert gpt2("download", "124M").stdout == os.fsencode(folder) + b"\n"
    cache = folder.parent.parent.parent
    (cache / "models--openai-community--gpt2").rename(cache / "models--gpt2")
    for name in ("gpt2", "small", "openai-community/gpt2", "GPT2"):
        found = find_model(name)
        assert found is not None
        assert found.config.parent == cache / "models--gpt2" / "snapshots" / folder.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "repo", "family", "terms"),
    [
        ("openai-gpt", "openai-community/openai-gpt", "gpt1", "MIT"),
        ("gpt-neo-125m", "EleutherAI/gpt-neo-125m", "gpt-neo", "MIT"),
        ("pythia-14m", "EleutherAI/pythia-14m", "gpt-neox", "Apache-2.0"),
        ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M", "llama", "Apache-2.0"),
    ],
)
def test_a_model_of_another_family_has_its_own_tokenizer(
    gpt2: Gpt2,
    hub: LoopbackHub,
    environment: dict[str, str],
    tmp_path: Path,
    name: str,
    repo: str,
    family: str,
    terms: str,
) -> None:
    save_family(tmp_path / "served", family, vocab_size=320)
    save_tokenizer(tmp_path / "served", 320)
    hub.add(repo, tmp_path / "served")
    folder = snapshot(environment, hub, repo)
    assert gpt2("download", name).stdout == os.fsencode(folder) + b"\n"
    listed = json.loads(gpt2("models", "list", "--json").stdout)
    assert (name, str(folder)) in {(model["name"], model["path"]) for model in listed}
    assert json.loads(gpt2("models", "show", name, "--json").stdout)["license"] == terms
    own = gpt2("tokenize", "-m", folder, "--text", "Hello world")
    assert not own.returncode
    assert gpt2("tokenize", "-m", name, "--text", "Hello world").stdout == own.stdout != HELLO
    generated = gpt2("generate", "Hello", "-m", name, "--offline", "-n", "3", "--temperature", "0")
    assert (generated.returncode, generated.stderr) == (0, b"")


@pytest.mark.slow
def test_force_fetches_the_same_files_again(gpt2: Gpt2, hub: LoopbackHub) -> None:
    first = gpt2("download", REPO)
    again = gpt2("download", "--force", REPO)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert fetched(hub) == NEEDED + NEEDED


@pytest.mark.slow
def test_dry_run_prints_what_would_be_fetched(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str], checkpoint: Path
) -> None:
    result = gpt2("download", "--dry-run", REPO)
    rows = [f"{REPO}\t{name}\t{(checkpoint / name).stat().st_size}" for name in NEEDED]
    assert result.stdout.decode().splitlines() == ["MODEL\tFILE\tBYTES", *rows]
    assert not Path(environment["HF_HOME"]).exists()
    gpt2("download", REPO)
    assert gpt2("download", "--dry-run", REPO).stdout == b"MODEL\tFILE\tBYTES\n"


@pytest.mark.parametrize(("option", "value"), [("--offline", "0"), (None, "ON")])
def test_offline_says_how_to_get_the_model(
    gpt2: Gpt2, hub: LoopbackHub, option: str | None, value: str
) -> None:
    result = gpt2("download", REPO, *([option] if option else []), env={"HF_HUB_OFFLINE": value})
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == (
        f"Error: {REPO} is not on this machine, and downloads are off. "
        f"Run gpt2 download {REPO} without --offline and HF_HUB_OFFLINE.\n"
    )
    assert not hub.requests


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gtp2"], 1, "There is no model named 'gtp2'. Did you mean gpt2?"),
        ([REPO, "gpt2-medum"], 1, "There is no model named 'gpt2-medum'. Did you mean gpt2-medium?"),
        (
            ["./nowhere"],
            1,
            "There is no model at ./nowhere. Use a folder, a .safetensors or .gguf file, or OWNER/NAME.",
        ),
        (["--force", "stories"], 2, "stories is not on the Hub. Leave out --force."),
        (["--force", "--offline", REPO], 2, "--force needs the network, which --offline forbids."),
        ([], 2, "Missing argument 'MODEL'. See gpt2 download --help."),
    ],
)
def test_a_wrong_request_opens_no_connection(
    gpt2: Gpt2, hub: LoopbackHub, arguments: list[str], code: int, message: str
) -> None:
    result = gpt2("download", *arguments)
    assert (result.returncode, result.stdout, hub.requests) == (code, b"", [])
    assert result.stderr.decode().startswith(f"Error: {message}")


def test_a_refusal_is_one_line(gpt2: Gpt2, hub: LoopbackHub) -> None:
    result = gpt2("download", "acme/none")
    assert (result.returncode, result.stdout) == (1, b"")
    assert result.stderr.decode() == (
        "Error: There is no model acme/none on the Hub, or it is private. "
        "Check the name. Private models need HF_TOKEN.\n"
    )


@pytest.mark.slow
def test_a_forced_download_that_is_refused_keeps_what_is_here(gpt2: Gpt2, hub: LoopbackHub) -> None:
    gpt2("download", REPO)
    hub.fail("model.safetensors", 403, "GatedRepo")
    result = gpt2("download", "-q", "--force", REPO)
    assert (result.returncode, result.stderr.split(b".")[0]) == (1, b"Error: acme/tiny is gated")
    assert is_sound(REPO)


@pytest.mark.slow
def test_a_dead_endpoint_is_named(gpt2: Gpt2) -> None:
    result = gpt2("download", REPO)
    assert result.returncode == 1
    assert result.stderr.decode() == (
        "Error: http://127.0.0.1:9 cannot be reached. Check the network. Downloaded models work without it.\n"
    )


@pytest.mark.slow
def test_a_server_that_is_silent_is_not_waited_for(gpt2: Gpt2, hub: LoopbackHub) -> None:
    hub.hang("/api/")
    result = gpt2("download", REPO, env={"HF_HUB_ETAG_TIMEOUT": "1"})
    assert result.returncode == 1
    assert result.stderr.decode().startswith(f"Error: {hub.url} did not answer in time.")


def test_another_server_than_the_hub_is_recognized(gpt2: Gpt2, hub: LoopbackHub) -> None:
    hub.fail("/api/", 200)
    result = gpt2("download", REPO)
    assert (result.returncode, result.stderr.decode()) == (
        1,
        f"Error: {hub.url} does not respond like the Hub. Check HF_ENDPOINT and the network.\n",
    )


@pytest.mark.slow
def test_a_download_that_is_cut_once_ends_well(gpt2: Gpt2, hub: LoopbackHub) -> None:
    hub.cut(f"/cdn/{REPO}", after=5000)
    result = gpt2("download", REPO)
    assert result.returncode == 0
    assert len([path for path in hub.paths if path.startswith("/cdn/")]) == 2
    assert result.stderr.count(b"\n") == len(NEEDED)
    assert is_sound(REPO)


@pytest.mark.slow
def test_a_download_that_is_cut_again_and_again_is_one_sentence(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str]
) -> None:
    hub.cut(f"/cdn/{REPO}", after=0, times=100)
    result = gpt2("download", "-q", REPO)
    assert (result.returncode, result.stderr.decode()) == (
        1,
        f"Error: The connection dropped while {REPO} was being fetched. Try again.\n",
    )
    assert not list(Path(environment["HF_HOME"]).rglob("*.incomplete"))


@pytest.mark.slow
def test_a_file_that_arrives_with_other_content_is_not_kept(gpt2: Gpt2, hub: LoopbackHub) -> None:
    hub.corrupt(f"/cdn/{REPO}")
    result = gpt2("download", "-q", REPO)
    assert result.returncode == 1
    assert result.stderr.decode().startswith("Error: model.safetensors of acme/tiny arrived damaged")
    assert find_model(REPO) is None
    hub.faults.clear()
    assert gpt2("download", REPO).returncode == 0


@pytest.mark.slow
def test_the_space_is_checked_before_anything_is_fetched(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str], checkpoint: Path
) -> None:
    hub.declared_sizes["model.safetensors"] = 10**18
    result = gpt2("download", REPO)
    small = sum((checkpoint / name).stat().st_size for name in NEEDED[:2])
    assert result.returncode == 1
    assert f"{REPO} needs {10**18 + small:,} bytes, but {environment['HF_HOME']}" in result.stderr.decode()
    assert "bytes available. Free some space" in result.stderr.decode()
    assert fetched(hub) == []


@pytest.mark.slow
def test_ctrl_c_ends_a_download_at_once_and_leaves_no_half_model(
    gpt2: Gpt2, hub: LoopbackHub, environment: dict[str, str]
) -> None:
    hub.stall(f"/cdn/{REPO}", after=5000)
    process = subprocess.Popen(
        [*COMMAND, "download", REPO], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert hub.stalled.wait(30)
    while sum(path.stat().st_size for path in Path(environment["HF_HOME"]).rglob("*.incomplete")) < 5000:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # A client that waited for its time limit would ask again.
    assert sum(path.startswith(f"/cdn/{REPO}") for path in hub.paths) == 1
    assert (process.returncode, out) == (-signal.SIGINT, b"")
    assert all(line.startswith(b"Fetching") for line in err.splitlines())
    assert find_model(REPO) is None
    # What has arrived is kept.
    hub.requests.clear()
    assert gpt2("download", REPO).returncode == 0
    assert [request.headers.get("range") for request in hub.requests if request.path.startswith("/cdn/")] == [
        "bytes=5000-"
    ]
    assert fetched(hub) == ["model.safetensors"]
    assert is_sound(REPO)


def test_a_terminal_shows_bars_and_a_pipe_keeps_the_folder_alone(
    hub: LoopbackHub, environment: dict[str, str]
) -> None:
    master, slave = pty.openpty()
    result = subprocess.run(
        [*COMMAND, "download", REPO], env=environment, stdout=subprocess.PIPE, stderr=slave, check=True
    )
    os.close(slave)
    seen = b""
    try:
        while data := os.read(master, 65536):
            seen += data
    except OSError:
        pass
    os.close(master)
    assert result.stdout == os.fsencode(snapshot(environment, hub)) + b"\n"
    assert b"model.safetensors" in seen
    assert b"\x1b[" in seen
    assert b"Fetching" not in seen
