"""A model's local files, against a cache written by the real client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import save_checkpoint, save_model_folder
from conftest import COMMAND
from filelock import FileLock
from huggingface_hub import scan_cache_dir, try_to_load_from_cache
from loopback_hub import LoopbackHub

from gpt2cli.checkpoint.architecture import Architecture
from gpt2cli.checkpoint.architectures import ARCHITECTURES
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.errors import CheckpointError, HubError, UsageError
from gpt2cli.hub.cache import cache_folder
from gpt2cli.hub.checkpoint_files import WEIGHTS
from gpt2cli.hub.checks.verification import verify_model
from gpt2cli.hub.listing import cached_models
from gpt2cli.hub.model_facts import count_parameters, describe_model
from gpt2cli.hub.model_files import ModelFiles, fetch_model, find_model
from gpt2cli.hub.network.failures import explain
from gpt2cli.hub.removal import cache_folders, plan_prune, remove, repository_removal

REPO = "acme/tiny"
OPTIONAL = "generation_config.json"
FILES = ["config.json", "tokenizer.json", OPTIONAL, "model.safetensors"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    save_model_folder(folder)
    return folder


@pytest.fixture(scope="module")
def downloaded(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an HF_HOME with two revisions of one model, the second without a ref any more."""
    home = tmp_path_factory.mktemp("home")
    older = tmp_path_factory.mktemp("older") / "model"
    shutil.copytree(checkpoint, older)
    save_checkpoint(older, seed=1, vocab_size=320)
    with LoopbackHub() as hub:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))
        }
        env = kept | {"HF_HOME": str(home), "HF_ENDPOINT": hub.url}
        hub.add(REPO, older)
        subprocess.run([*COMMAND, "download", "-q", REPO], env=env, check=True)
        hub.add(REPO, checkpoint)
        hub.add(REPO, checkpoint, "v1")
        subprocess.run([*COMMAND, "download", "-q", "--force", REPO], env=env, check=True)
    return home


@pytest.fixture
def cache(downloaded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that cache, which the process sees as the user's."""
    shutil.copytree(downloaded, tmp_path / "home", symlinks=True)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ASSETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub"


def commits(cache: Path) -> tuple[str, str]:
    """Return the commit that main means, and the one that nothing means."""
    folder = cache / "models--acme--tiny"
    named = (folder / "refs" / "main").read_text()
    (other,) = {path.name for path in (folder / "snapshots").iterdir()} - {named}
    return named, other


def snapshot(cache: Path, commit: str) -> Path:
    return cache / "models--acme--tiny" / "snapshots" / commit


def paths(files: ModelFiles) -> list[Path]:
    generation = [files.generation] if files.generation else []
    return [files.config, *files.tokenizer, *generation, *files.weights]


@pytest.mark.slow
def test_a_downloaded_model_is_found(cache: Path) -> None:
    named, other = commits(cache)
    for name, commit in ((REPO, named), (f"{REPO}@main", named), (f"{REPO}@{other}", other)):
        files = find_model(name)
        assert files is not None
        assert (files.name, files.revision) == (REPO, commit)
        folder = snapshot(cache, commit)
        assert paths(files) == [folder / name for name in FILES]


def test_the_lookup_agrees_with_the_client(cache: Path) -> None:
    named, other = commits(cache)
    for revision in ("main", named, other, "v2", "0" * 40):
        found = find_model(f"{REPO}@{revision}")
        theirs = [try_to_load_from_cache(REPO, name, cache, revision) for name in FILES]
        ours = list(map(str, paths(found))) if found else [None] * len(FILES)
        assert ours == theirs


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"XDG_CACHE_HOME": "/x"},
        {"HF_HOME": "~/h", "XDG_CACHE_HOME": "/x"},
        {"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "$HOME/old"},
        {"HF_HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "~/c"},
        {"HF_HOME": "/h", "HF_ASSETS_CACHE": "$HOME/a"},
    ],
)
def test_the_cache_is_where_the_client_has_it(values: dict[str, str], environment: dict[str, str]) -> None:
    del environment["HF_HOME"]
    code = (
        "from gpt2cli.hub.cache import assets_folder, cache_folder; from huggingface_hub import constants; "
        "print(cache_folder(), assets_folder().parent); "
        "print(constants.HF_HUB_CACHE, constants.HF_ASSETS_CACHE)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment | values, capture_output=True, text=True, check=True
    )
    ours, theirs = result.stdout.splitlines()
    assert ours == theirs


def test_a_lookup_imports_nothing_heavy_and_opens_refs_alone(cache: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gpt2cli.hub.cache import cache_folder; "
        "from gpt2cli.hub.model_files import find_model; read = []; "
        "sys.addaudithook(lambda event, values: event == 'open' and read.append(values[0])); "
        f"assert find_model({REPO!r}); assert find_model('gpt2') is None; "
        "print([name for name in ('huggingface_hub', 'numpy', 'torch', 'rich') if name in sys.modules], "
        "{Path(path).parent.name for path in map(str, read) if str(cache_folder()) in path})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[] {'refs'}\n"


@pytest.mark.parametrize("lost", [name for name in FILES if name != OPTIONAL])
def test_a_snapshot_that_lacks_a_file_is_no_model(cache: Path, lost: str) -> None:
    named, _ = commits(cache)
    (snapshot(cache, named) / lost).unlink()
    assert find_model(REPO) is None


def test_a_snapshot_without_the_files_that_a_model_may_lack_is_one(cache: Path) -> None:
    named, _ = commits(cache)
    (snapshot(cache, named) / OPTIONAL).unlink()
    files = find_model(REPO)
    assert files is not None
    assert files.generation is None
    assert not any(check.problem for check in verify_model(files))


def test_a_link_to_a_lost_blob_is_no_file(cache: Path) -> None:
    named, _ = commits(cache)
    (snapshot(cache, named) / "model.safetensors").resolve().unlink()
    assert find_model(REPO) is None


def test_the_bundled_merges_serve_for_known_models_alone(cache: Path) -> None:
    named, _ = commits(cache)
    (snapshot(cache, named) / "tokenizer.json").unlink()
    assert find_model(REPO) is None
    (cache / "models--acme--tiny").rename(cache / "models--openai-community--gpt2-medium")
    files = find_model("355M")
    assert files is not None
    assert (files.name, files.tokenizer) == ("gpt2-medium", ())
    (cache / "models--openai-community--gpt2-medium").rename(cache / "models--EleutherAI--gpt-neo-125m")
    assert find_model("gpt-neo-125m") is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("gtp2", "Did you mean gpt2?"),
        ("gpt2-larg", "Did you mean gpt2-large?"),
        ("storis", "Did you mean stories?"),
        ("355", "Did you mean 355M?"),
        ("pythia-160", "Did you mean pythia-160m?"),
        ("llama", "Did you mean tinyllama?"),
        (
            "bert",
            "Use stories, gpt2, openai-gpt, gpt-neo-125m, pythia-160m, smollm2-135m, OWNER/NAME or a path.",
        ),
        ("", "Use stories, "),
        ("./nowhere", "Use a folder, a .safetensors or .gguf file, or OWNER/NAME."),
        ("a/b/c", "Use a folder, a .safetensors or .gguf file, or OWNER/NAME."),
        ("model.safetensors", "Use a folder"),
        ("x" * 5000, "Use stories, "),
    ],
)
def test_a_name_that_means_nothing_has_a_hint(name: str, hint: str) -> None:
    with pytest.raises(HubError) as raised:
        find_model(name)
    assert raised.value.hint.startswith(hint)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", ["gpt2", REPO])
@pytest.mark.parametrize(
    "revision",
    ["/any/folder", "../../../f", "..", ".", "a/../b", "a/", "/a", "a//b", "-x", "a b", "\x1b[2J", "a" * 300],
)
def test_a_revision_is_no_path(cache: Path, name: str, revision: str) -> None:
    with pytest.raises(HubError, match="cannot be the name of a revision") as raised:
        find_model(f"{name}@{revision}")
    assert raised.value.message.isprintable()


@pytest.mark.parametrize("target", ["../../../evil", "{absolute}", "..", ".", "", "0" * 39])
def test_a_ref_leads_to_a_commit_and_nowhere_else(
    cache: Path, checkpoint: Path, tmp_path: Path, target: str
) -> None:
    shutil.copytree(checkpoint, tmp_path / "evil")
    (cache / "models--acme--tiny" / "refs" / "v7").write_text(target.format(absolute=tmp_path / "evil"))
    assert find_model(f"{REPO}@v7") is None


@pytest.mark.parametrize("revision", ["refs/pr/1", "v1.0", "feature_x/y-2", "v1.0+cu12", "2024"])
def test_branches_and_tags_of_usual_names_are_found(cache: Path, revision: str) -> None:
    named, _ = commits(cache)
    path = cache / "models--acme--tiny" / "refs" / revision
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(named)
    files = find_model(f"{REPO}@{revision}")
    assert files is not None
    assert files.revision == named


@pytest.mark.parametrize(
    "shards",
    [
        *([True], [None], [3], [["a"]], [{"a": 1}], [""], ["/etc/passwd"], ["../model.safetensors"]),
        *([], ["a\nb.safetensors"], ["x.txt"], ["a/b.safetensors"], ["a" * 999 + ".safetensors"]),
    ],
)
def test_an_index_names_files_beside_it(checkpoint: Path, tmp_path: Path, shards: list[object]) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {f"x{number}": name for number, name in enumerate(shards)}}))
    with pytest.raises(CheckpointError) as raised:
        find_model(str(folder))
    assert raised.value.message == f"The weights index {index} is damaged."


def test_of_many_missing_shards_a_few_are_named(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    names = {f"x{number}": f"model-{number}.safetensors" for number in range(5000)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(HubError, match="and 4,996 more"):
        find_model(str(folder))


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-3", "GPT3", "gpt-3.5-turbo", "gpt-4", "gpt-4o-mini", "gpt-4.1", "gpt-5", "openai/gpt-4"),
        *("chatgpt", "chatgpt-4o-latest", "text-davinci-003", "davinci-002", "babbage", "o1", "o3-mini"),
    ],
)
def test_a_closed_model_names_open_ones(name: str) -> None:
    with pytest.raises(HubError) as raised:
        find_model(name)
    assert str(raised.value) == (
        f"{name} is closed: OpenAI has not published its weights. "
        "Open models are stories, gpt2, openai-gpt, gpt-neo-125m, pythia-160m and smollm2-135m."
    )


@pytest.mark.parametrize("name", ["openai/gpt-oss-20b", "acme/gpt-4", "nomic-ai/gpt4all-j", "openai/clip"])
def test_an_open_model_of_a_similar_name_is_looked_for(cache: Path, name: str) -> None:
    assert find_model(name) is None


def test_a_folder_may_have_the_name_of_a_closed_model(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(checkpoint, tmp_path / "gpt-4")
    monkeypatch.chdir(tmp_path)
    assert find_model("gpt-4") is not None


def test_a_folder_and_a_file_in_it_are_models(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (checkpoint, checkpoint / "model.safetensors"):
        files = find_model(str(path))
        assert files is not None
        assert (files.name, files.revision) == (str(path), None)
        assert files.weights == (checkpoint / "model.safetensors",)
        assert files.tokenizer == (checkpoint / "tokenizer.json",)
    monkeypatch.chdir(checkpoint.parent)
    assert find_model(checkpoint.name) is not None


def test_a_known_name_goes_before_a_folder_of_that_name(
    cache: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(checkpoint, tmp_path / "gpt2")
    monkeypatch.chdir(tmp_path)
    assert find_model("gpt2") is None
    assert find_model("./gpt2") is not None


def test_a_path_that_holds_no_whole_model_says_what_it_lacks(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"it lacks config\.json, model\.safetensors or pytorch_model\.bin\."):
        find_model(str(tmp_path))
    with pytest.raises(HubError, match=r"config\.json is neither a \.safetensors nor a \.gguf file\."):
        find_model(str(checkpoint / "config.json"))
    shutil.copy(checkpoint / "model.safetensors", tmp_path / "other.safetensors")
    with pytest.raises(HubError, match=r"has no config\.json next to it\."):
        find_model(str(tmp_path / "other.safetensors"))
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}))
    with pytest.raises(HubError, match=r"it lacks config\.json, one\.safetensors, two\.safetensors\."):
        find_model(str(tmp_path))
    index.write_text("{}")
    with pytest.raises(CheckpointError, match="is damaged"):
        find_model(str(tmp_path))


@pytest.mark.slow
def test_a_download_reports_each_file_from_its_first_to_its_last_byte(
    checkpoint: Path, environment: dict[str, str]
) -> None:
    code = (
        "import json; from contextlib import nullcontext; from gpt2cli.hub.model_files import fetch_model\n"
        "from gpt2cli.hub.reporter import Reporter; calls = []; reporter = Reporter()\n"
        "reporter.fetching = lambda model: nullcontext(lambda *call: calls.append(call))\n"
        f"fetch_model({REPO!r}, reporter=reporter); print(json.dumps(calls))"
    )
    with LoopbackHub() as hub:
        hub.add(REPO, checkpoint)
        result = subprocess.run(
            [sys.executable, "-c", code],
            env=environment | {"HF_ENDPOINT": hub.url},
            capture_output=True,
            check=True,
        )
    assert result.stderr == b""
    calls = json.loads(result.stdout)
    assert list(dict.fromkeys(name for name, _, _ in calls)) == FILES
    for name in FILES:
        size = (checkpoint / name).stat().st_size
        done = [call[1] for call in calls if call[0] == name]
        assert done == sorted(done)
        assert (done[0], done[-1]) == (0, size)
        assert {call[2] for call in calls if call[0] == name} == {size}


REFUSALS = [
    ("/api/", 401, None, None, "There is no model {} on the Hub, or it is private."),
    ("/api/", 404, "RepoNotFound", None, "There is no model {} on the Hub, or it is private."),
    ("/api/", 401, "GatedRepo", None, "{} is gated. Accept its terms at https://huggingface.co/{}"),
    ("config.json", 403, "GatedRepo", None, "{} is gated. Accept its terms at https://huggingface.co/{}"),
    ("/api/", 401, None, "Invalid credentials in Authorization header", "The Hub does not accept this"),
    ("/api/", 429, None, None, "The Hub received too many requests from here."),
    ("/api/", 500, None, None, "The Hub is unavailable (status 500). Try again later."),
    ("/cdn/", 503, None, None, "The Hub is unavailable (status 503). Try again later."),
    ("model.safetensors", 404, "EntryNotFound", None, "A file of {} disappeared between listing and"),
    ("/api/", 418, None, None, "The Hub refused to send {} (status 418)."),
]


def fetch_errors(repos: list[str], hub: LoopbackHub, environment: dict[str, str]) -> list[str]:
    """Return what fetching each repository raises, in one process."""
    code = """
import sys
from gpt2cli.errors import Error
from gpt2cli.hub.model_files import fetch_model
for repo in sys.argv[1:]:
    try:
        fetch_model(repo)
    except Error as error:
        print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code, *repos],
        env=environment | {"HF_ENDPOINT": hub.url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stderr == ""
    return result.stdout.splitlines()


@pytest.mark.slow
def test_a_refusal_says_what_to_do(checkpoint: Path, environment: dict[str, str]) -> None:
    repos = [f"acme/refusal-{number}" for number in range(len(REFUSALS))]
    with LoopbackHub() as hub:
        for repo, (where, status, code, words, _) in zip(repos, REFUSALS, strict=True):
            hub.add(repo, checkpoint)
            hub.fail(where, status, code, words, repo=repo)
        lines = fetch_errors(repos, hub, environment)
    for repo, line, refusal in zip(repos, lines, REFUSALS, strict=True):
        assert line.startswith(refusal[-1].replace("{}", repo))


def test_what_cannot_run_is_not_fetched(
    checkpoint: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    bert, weightless, mute = (tmp_path / name for name in ("bert", "weightless", "mute"))
    for folder, lost in ((bert, None), (weightless, "model.safetensors"), (mute, "tokenizer.json")):
        shutil.copytree(checkpoint, folder, ignore=lambda _, names, lost=lost: {lost} & set(names))
    (bert / "config.json").write_text('{"model_type": "bert"}')
    with LoopbackHub() as hub:
        for folder in (bert, weightless, mute):
            hub.add(f"acme/{folder.name}", folder)
        lines = fetch_errors(["acme/bert", "acme/weightless", "acme/mute"], hub, environment)
    assert lines == [
        "config.json has model_type 'bert', which is not supported. Supported are GPT-2 (gpt2), GPT-1 "
        "(openai-gpt), GPT-Neo (gpt_neo), GPT-NeoX (gpt_neox), LLaMA (llama), Mistral (mistral), Qwen2 "
        "(qwen2) and OPT (opt).",
        "acme/weightless is not a complete model: it lacks model.safetensors or pytorch_model.bin.",
        "acme/mute is not a complete model: it lacks tokenizer.json or vocab.json.",
    ]
    assert not [path for path in hub.paths if "model.safetensors" in path]


def test_a_full_disk_and_a_read_only_one_are_explained() -> None:
    full = OSError(28, "No space left on device")
    assert explain(full, REPO, "main").message.endswith("is full.")
    wrapped = ValueError("Force download failed due to the above error.")
    wrapped.__cause__ = OSError(30, "Read-only file system")
    assert explain(wrapped, REPO, "main").message.endswith("cannot be written.")


def test_what_is_no_repository_cannot_be_forced_or_removed(checkpoint: Path) -> None:
    for name in ("stories", str(checkpoint)):
        with pytest.raises(UsageError):
            fetch_model(name, force=True)
        with pytest.raises(UsageError):
            cache_folders(name)


def test_every_listed_name_finds_its_model(cache: Path) -> None:
    named, other = commits(cache)
    folder = cache / "models--acme--tiny"
    (folder / "refs" / "v1").write_text(named)
    shutil.copytree(folder, cache / "models--distilbert--distilgpt2", symlinks=True)
    _copied_as(folder, "bert")
    for config in _copied_as(folder, "deep").glob("snapshots/*/config.json"):
        config.write_text("[" * 100_000)
    models = cached_models()
    assert [model.name for model in models] == [
        REPO,
        f"{REPO}@{other}",
        "distilgpt2",
        f"distilgpt2@{other}",
    ]
    for model in models:
        files = find_model(model.name)
        assert files is not None
        assert files.config.parent == model.path
        assert model.size == sum(path.stat().st_size for path in model.path.iterdir())


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda row: row.model_type)
def test_models_of_every_family_are_listed(cache: Path, architecture: Architecture) -> None:
    _copied_as(cache / "models--acme--tiny", architecture.model_type)
    assert f"acme/{architecture.model_type}" in {model.name for model in cached_models()}


def _copied_as(folder: Path, model_type: str) -> Path:
    copy = folder.with_name(f"models--acme--{model_type}")
    shutil.copytree(folder, copy, symlinks=True)
    for config in copy.glob("snapshots/*/config.json"):
        config.unlink()
        config.write_text(json.dumps({"model_type": model_type}))
    return copy


def change(path: Path, edit: Callable[[bytes], bytes]) -> None:
    blob = path.resolve()
    blob.write_bytes(edit(blob.read_bytes()))


@pytest.mark.parametrize(
    ("name", "edit", "problem"),
    [
        ("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "does not match the Hub's"),
        ("model.safetensors", lambda data: data[:-100], "is damaged: it has only"),
        ("model.safetensors", lambda data: b"", "its header is cut off after 0 bytes"),
        ("tokenizer.json", lambda data: data[:-1], "it is not valid JSON"),
        ("config.json", lambda data: data + b" ", "does not match the Hub's"),
    ],
)
def test_verification_finds_a_damaged_file(
    cache: Path, name: str, edit: Callable[[bytes], bytes], problem: str
) -> None:
    files = find_model(REPO)
    assert files is not None
    assert [(check.path.name, check.kind, check.problem) for check in verify_model(files)] == [
        ("config.json", "git-sha1", ""),
        ("tokenizer.json", "git-sha1", ""),
        (OPTIONAL, "git-sha1", ""),
        ("model.safetensors", "sha256", ""),
    ]
    change(files.config.with_name(name), edit)
    problems = {check.path.name: check.problem for check in verify_model(files) if check.problem}
    assert list(problems) == [name]
    assert problem in problems[name]


def test_without_hashes_verification_checks_the_form(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    files = find_model(str(folder))
    assert files is not None
    assert {(check.kind, check.problem) for check in verify_model(files)} == {("form", "")}
    config = json.loads(files.config.read_bytes())
    files.config.write_text(json.dumps({**config, "n_layer": 2}))
    assert "n_layer is 2 there and 3 in the weights" in list(verify_model(files))[-1].problem


def test_pruning_keeps_what_a_ref_needs_and_nothing_else(cache: Path) -> None:
    _, other = commits(cache)
    blobs = cache / "models--acme--tiny" / "blobs"
    (blobs / f"{'a' * 64}.12345678.incomplete").write_bytes(b"1234")
    (blobs / ("b" * 64)).write_bytes(b"123")
    old_weights = (snapshot(cache, other) / "model.safetensors").stat().st_size
    removals = plan_prune()
    assert [(removal.path.name, removal.size) for removal in removals] == [
        (other, old_weights),
        (f"{'a' * 64}.12345678.incomplete", 4),
        ("b" * 64, 3),
    ]
    remove(removals)
    assert plan_prune() == []
    assert len(list(blobs.iterdir())) == len(FILES)
    assert find_model(f"{REPO}@{other}") is None
    files = find_model(REPO)
    assert files is not None
    assert not any(check.problem for check in verify_model(files))
    assert not scan_cache_dir(cache).warnings


def test_pruning_leaves_a_download_that_is_going_on(cache: Path) -> None:
    (cache / "models--acme--tiny" / "blobs" / f"{'a' * 64}.12345678.incomplete").touch()
    assert len(plan_prune()) == 2
    with FileLock(cache / ".locks" / "models--acme--tiny" / f"{'a' * 64}.lock"):
        assert plan_prune() == []


def test_pruning_leaves_other_models_alone(cache: Path) -> None:
    folder = cache / "models--acme--tiny"
    for config in folder.glob("snapshots/*/config.json"):
        config.unlink()
    assert plan_prune() == []


def test_removal_takes_a_repository_and_leaves_its_copy(cache: Path) -> None:
    folder = cache / "models--acme--tiny"
    copy = cache / "models--acme--copy"
    shutil.copytree(folder, copy, symlinks=True)
    in_blobs = sum(path.stat().st_size for path in (folder / "blobs").iterdir())
    removal = repository_removal(folder)
    # Small files, such as refs, count too.
    assert in_blobs <= removal.size < in_blobs + 1000
    remove([removal])
    assert not folder.exists()
    assert not (cache / ".locks" / folder.name).exists()
    assert find_model(REPO) is None
    assert find_model("acme/copy") is not None


def test_removal_takes_a_repository_that_the_client_finds_corrupted(cache: Path) -> None:
    folder = cache / "models--acme--tiny"
    (folder / "refs" / "lost").write_text("0" * 40)
    assert scan_cache_dir(cache).warnings
    remove([repository_removal(folder)])
    assert not folder.exists()


def test_removal_frees_a_blob_that_the_client_keeps_in_its_shared_store(cache: Path) -> None:
    named, _ = commits(cache)
    blob = Path(os.path.normpath(snapshot(cache, named) / (snapshot(cache, named) / WEIGHTS[0]).readlink()))
    store = cache / "blobs"
    shared = store / "cc" / ("c" * 64)
    shared.parent.mkdir(parents=True)
    (store / ".huggingface-shared-blobs").write_text("1\n")
    blob.rename(shared)
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    shared.with_name(f"{shared.name}.refs").write_text(f"{blob.relative_to(cache).as_posix()}\n")
    files = find_model(REPO)
    assert files is not None
    assert [check.kind for check in verify_model(files) if not check.problem][-1] == "sha256"
    remove([repository_removal(cache / "models--acme--tiny")])
    assert not shared.exists()


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_as_transformers_counts_them(tmp_path: Path, tied: bool) -> None:
    model = save_checkpoint(tmp_path, tie_word_embeddings=tied)
    counts = count_parameters(ModelConfig.from_json(tmp_path / "config.json"))
    assert sum(counts.values()) == model.num_parameters()
    assert ("head" in counts) is not tied
    assert counts["mlp"] == sum(block.mlp.c_fc.weight.numel() * 2 + 24 + 96 for block in model.transformer.h)


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\ntags:\n- x\n---\nText", "apache-2.0"),
        ('---\nlicense: "mit"\n---\n', "mit"),
        ("---\nlanguage: en\n---\nlicense: mit\n---\n", None),
        ("license: mit\n", None),
        (None, None),
    ],
)
def test_the_license_is_what_the_model_card_says(
    checkpoint: Path, tmp_path: Path, card: str | None, expected: str | None
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    if card is not None:
        (folder / "README.md").write_text(card)
    files = find_model(str(folder))
    assert files is not None
    assert describe_model(files).license == expected


def test_the_cache_folder_need_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path / "neither"))
    assert cache_folder() == tmp_path / "none"
    assert cached_models() == []
    assert plan_prune() == []
    with pytest.raises(HubError, match="is not in the cache"):
        cache_folders("gpt2")
