"""What a server may send in place of a model: the transfer of files, against a hostile hub on loopback."""

from __future__ import annotations

import errno
import gzip
import os
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import huggingface_hub
import pytest
from checkpoints import save_model_folder
from filelock import FileLock
from huggingface_hub import (
    _local_folder,
    constants,
    file_download,
    scan_cache_dir,
    snapshot_download,
    try_to_load_from_cache,
)
from loopback_hub import LARGE, LoopbackHub, etag

from gpt2cli.cli.app import _print_traceback
from gpt2cli.errors import CheckpointError, HubError
from gpt2cli.hub.cache import blob_of, expected_hash
from gpt2cli.hub.checks.verification import verify_model
from gpt2cli.hub.model_files import fetch_model, find_model
from gpt2cli.hub.network import transfer
from gpt2cli.hub.removal import plan_prune
from gpt2cli.hub.reporter import Reporter

REPO = "acme/tiny"
WEIGHTS = "model.safetensors"

Listing = dict[str, Any]


class Notes(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    save_model_folder(folder)
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def hub(checkpoint: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.add(REPO, checkpoint)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        # The client reads it only once.
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        address = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        yield hub
        # Its connections are to this hub.
        huggingface_hub.close_session()


def refusal() -> str:
    """Return the message of a download that fails."""
    with pytest.raises((HubError, CheckpointError)) as caught:
        fetch_model(REPO)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    return caught.value.message


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_disk_without_locks_is_downloaded_to_and_cleared(
    hub: LoopbackHub, home: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    files = fetch_model(REPO)
    assert not any(check.problem for check in verify_model(files))
    blob = blob_of(files.folder / WEIGHTS)
    assert blob
    left = blob.with_name(f"{blob.name}.incomplete")
    left.write_bytes(b"half")
    assert left not in [removal.path for removal in plan_prune()]
    os.utime(left, (0, 0))
    assert left in [removal.path for removal in plan_prune()]


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the disk refuse symbolic links, to the client as well."""

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("os.symlink", refuse)
    # It has tried the disk only once.
    monkeypatch.setattr(file_download, "_are_symlinks_supported_in_dir", {})
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS_WARNING", True)


def damage_found(name: str) -> dict[str, str]:
    """Return the kind of check that finds a damaged file, by the file's name, and leave the files whole."""
    files = find_model(name)
    assert files is not None
    kinds: dict[str, str] = {}
    for path in (files.config, *files.weights):
        assert not path.is_symlink()
        whole = path.read_bytes()
        # Of the right form both times: a bit of a number is flipped, and JSON may end in a space.
        path.write_bytes(whole + b" " if path == files.config else whole[:-1] + bytes([whole[-1] ^ 1]))
        kinds |= {check.path.name: check.kind for check in verify_model(files) if check.result == "damaged"}
        path.write_bytes(whole)
    assert not any(check.problem for check in verify_model(files))
    return kinds


HASHED = {"config.json": "git-sha1", WEIGHTS: "sha256"}


@pytest.mark.usefixtures("no_links")
def test_a_disk_without_links_keeps_hashes_where_the_client_does(hub: LoopbackHub, home: Path) -> None:
    files = fetch_model(REPO)
    assert damage_found(REPO) == HASHED
    folder, commit = files.folder, files.revision
    for path in (files.config, *files.tokenizer, *files.weights):
        noted = _local_folder.read_download_metadata(folder, path.name)
        assert noted is not None
        assert (noted.commit_hash, noted.etag) == (commit, etag(path))
        assert try_to_load_from_cache(REPO, path.name, home / "hub") == str(path)
    assert snapshot_download(REPO, cache_dir=home / "hub", local_files_only=True) == str(folder)
    hub.requests.clear()
    fetch_model(REPO)
    assert hub.requests == []
    assert not scan_cache_dir(home / "hub").warnings
    assert not [removal for removal in plan_prune() if home in removal.path.parents]


@pytest.mark.usefixtures("no_links")
def test_what_an_earlier_version_fetched_is_unverified_until_it_is_fetched_again(hub: LoopbackHub) -> None:
    files = fetch_model(REPO)
    rmtree(files.folder / ".cache")
    assert {(check.result, check.kind) for check in verify_model(files)} == {("unverified", "form")}
    fetch_model(REPO, force=True)
    assert {check.result for check in verify_model(files)} == {"ok"}


@pytest.mark.usefixtures("no_links")
def test_what_the_client_fetched_is_verified_if_it_kept_hashes(
    hub: LoopbackHub, home: Path, tmp_path: Path
) -> None:
    snapshot_download(REPO, cache_dir=home / "hub")
    assert damage_found(REPO) == HASHED
    snapshot_download(REPO, local_dir=tmp_path / "folder")
    assert damage_found(str(tmp_path / "folder")) == HASHED


@pytest.mark.parametrize("kept", ["", "\n", "a\nb\nc", "\0\n\xff\n", "a\n../../../evil\n1.0\n"])
@pytest.mark.parametrize("listed", ["", "[]", '{"files": 3}', '{"files": {"config.json": []}}', "[" * 99_999])
def test_a_damaged_note_of_a_hash_is_no_hash(tmp_path: Path, kept: str, listed: str) -> None:
    path = tmp_path / "snapshots" / ("0" * 40) / "config.json"
    note = path.parent / ".cache" / "huggingface" / "download" / "config.json.metadata"
    listing = tmp_path / "trees" / f"{'0' * 40}.json"
    for file, text in ((note, kept), (listing, listed)):
        file.parent.mkdir(parents=True)
        file.write_text(text, "latin-1")
    assert expected_hash(path) is None


def without(key: str) -> Callable[[Listing], Listing]:
    """Return a change that takes a key from each file of a listing."""

    def alter(info: Listing) -> Listing:
        return info | {"siblings": [{**file, key: None} for file in info["siblings"]]}

    return alter


def without_hashes(info: Listing) -> Listing:
    return without("lfs")(without("blobId")(info))


def sent(hub: LoopbackHub, name: str) -> list[str | None]:
    """Return the range of each request for the content of a file."""
    return [
        request.headers.get("range")
        for request in hub.requests
        if request.path.startswith("/cdn/" if name.endswith(LARGE) else f"/{REPO}/resolve")
        and request.path.endswith(name)
        and request.method == "GET"
    ]


HOSTILE_TAGS = ['W/"abc"', '"9b2c-17"', "../../../../evil", "/abs/path", "..", "", "zz", "a" * 10_000]


@pytest.mark.slow
@pytest.mark.parametrize("tag", HOSTILE_TAGS)
def test_a_tag_of_any_form_neither_names_a_file_nor_hides_damage(
    hub: LoopbackHub, home: Path, tmp_path: Path, tag: str
) -> None:
    hub.tag = lambda name: tag
    hub.corrupt(f"/cdn/{REPO}")
    assert refusal().startswith(f"{WEIGHTS} of {REPO} arrived damaged: its hash differs")
    assert find_model(REPO) is None
    hub.faults.clear()
    files = fetch_model(REPO)
    assert [check.kind for check in verify_model(files) if check.problem or check.kind == "form"] == []
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.slow
@pytest.mark.parametrize("tag", HOSTILE_TAGS)
def test_without_any_hash_sizes_and_forms_are_checked(
    hub: LoopbackHub, home: Path, tmp_path: Path, tag: str
) -> None:
    hub.alter, hub.tag = without_hashes, lambda name: tag
    hub.corrupt(f"/cdn/{REPO}")
    assert refusal().startswith(f"{WEIGHTS} of {REPO} arrived damaged: ")
    assert not [path for path in home.rglob("*model.safetensors*") if path.is_file()]
    hub.faults.clear()
    files = fetch_model(REPO)
    assert {check.kind for check in verify_model(files)} == {"form"}
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_file_without_a_listed_hash_is_compared_with_the_one_its_address_names(hub: LoopbackHub) -> None:
    hub.alter = without_hashes
    hub.corrupt(f"/{REPO}/resolve")
    assert refusal().startswith("config.json of acme/tiny arrived damaged: its hash differs")
    hub.faults.clear()
    files = fetch_model(REPO)
    assert blob_of(files.weights[0]) is not None
    assert {check.kind for check in verify_model(files)} == {"sha256", "git-sha1"}


@pytest.mark.parametrize(
    "commit", ["../../evil", "/abs", "..", "", "A" * 40, "0" * 39, "0" * 10_000, None, 7, []]
)
def test_a_commit_that_is_no_hash_is_refused(hub: LoopbackHub, home: Path, commit: object) -> None:
    hub.alter = lambda info: info | {"sha": commit}
    assert refusal().startswith(f"{hub.url} does not respond like the Hub: ")
    assert not home.exists()


@pytest.mark.parametrize(
    "listing",
    [
        [],
        None,
        "text",
        {},
        {"sha": "0" * 40},
        {"sha": "0" * 40, "siblings": {"a": 1}},
        {"sha": "0" * 40, "siblings": [{"size": 3}]},
        {"sha": "0" * 40, "siblings": [{"rfilename": [], "size": 3}]},
        {"sha": "0" * 40, "siblings": [{"rfilename": "config.json", "lfs": "x"}]},
        {"sha": "0" * 40, "siblings": None},
    ],
)
def test_a_listing_of_another_form_is_refused(hub: LoopbackHub, home: Path, listing: object) -> None:
    hub.alter = lambda info: listing
    assert refusal().startswith(f"{hub.url} does not respond like the Hub: ")
    assert not home.exists()


def test_names_that_lead_elsewhere_are_not_fetched(hub: LoopbackHub, home: Path) -> None:
    evil = ["../../evil/model.safetensors", "/abs/config.json", "model-1-of-../../2.safetensors", "..", ""]
    hub.alter = lambda info: (
        info | {"siblings": [*info["siblings"], *({"rfilename": name, "size": 1} for name in evil)]}
    )
    fetch_model(REPO)
    assert not [path for path in hub.paths if "evil" in path or "abs" in path or ".." in path]


@pytest.mark.parametrize("size", [-1, "3", 1.5, None])
def test_a_size_that_is_not_known_is_not_needed(hub: LoopbackHub, size: object) -> None:
    hub.alter = lambda info: info | {"siblings": [{**file, "size": size} for file in info["siblings"]]}
    assert not any(check.problem for check in verify_model(fetch_model(REPO)))


@pytest.mark.parametrize("off", [-1, 1])
def test_a_body_of_another_size_is_damaged(hub: LoopbackHub, home: Path, checkpoint: Path, off: int) -> None:
    hub.declared_sizes["config.json"] = (checkpoint / "config.json").stat().st_size + off
    hub.alter = without_hashes
    hub.tag = lambda name: ""
    assert refusal().startswith("config.json of acme/tiny arrived damaged: it ")
    assert not [path for path in home.rglob("*") if path.is_file() and "config" in path.name]


def test_a_download_goes_on_where_the_connection_was_reset(hub: LoopbackHub) -> None:
    for _ in range(3):
        hub.cut(f"/cdn/{REPO}", after=7000)
    notes = Notes()
    files = fetch_model(REPO, reporter=notes)
    assert sent(hub, WEIGHTS) == [None, "bytes=7000-", "bytes=14000-", "bytes=21000-"]
    assert not any(check.problem for check in verify_model(files))
    assert notes.lines == []


def test_a_download_goes_on_where_an_earlier_one_ended(
    hub: LoopbackHub, home: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "PAUSES", ())
    hub.cut(f"/cdn/{REPO}", after=9000)
    assert "connection dropped" in refusal()
    fetch_model(REPO)
    assert sent(hub, WEIGHTS) == [None, "bytes=9000-"]
    assert not list(home.rglob("*.incomplete"))


@pytest.mark.parametrize("beginning", [b"other content", b"x" * 1_000_000], ids=["short", "long"])
def test_a_beginning_from_elsewhere_is_fetched_again(
    hub: LoopbackHub, home: Path, checkpoint: Path, beginning: bytes
) -> None:
    blobs = home / "hub" / "models--acme--tiny" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{etag(checkpoint / WEIGHTS)}.incomplete").write_bytes(beginning)
    assert not any(check.problem for check in verify_model(fetch_model(REPO)))
    assert sent(hub, WEIGHTS)[-1] is None


def test_what_lies_in_the_place_of_a_file_is_not_trusted(
    hub: LoopbackHub, home: Path, checkpoint: Path
) -> None:
    blob = home / "hub" / "models--acme--tiny" / "blobs" / etag(checkpoint / WEIGHTS)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(bytes((checkpoint / WEIGHTS).stat().st_size))
    assert not any(check.problem for check in verify_model(fetch_model(REPO)))
    assert sent(hub, WEIGHTS) == [None]


def test_a_server_without_ranges_sends_all_again(hub: LoopbackHub, home: Path, checkpoint: Path) -> None:
    hub.ranges = False
    hub.cut(f"/cdn/{REPO}", after=7000)
    assert not any(check.problem for check in verify_model(fetch_model(REPO)))
    assert sent(hub, WEIGHTS) == [None, "bytes=7000-"]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the list in which each wait leaves its seconds, which are not waited."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


def test_a_long_wait_is_refused_and_a_short_one_is_announced(hub: LoopbackHub, waits: list[float]) -> None:
    hub.throttle("/api/", "999999")
    assert refusal() == "The Hub received too many requests from here, and asks to wait for 999,999 s."
    for where in ("/api/", "/config.json"):
        hub.throttle(where, "30")
    notes = Notes()
    fetch_model(REPO, reporter=notes)
    assert notes.lines == ["Waiting 30 s, as the Hub asks to after too many requests"] * 2
    assert waits == [30, 30]
    assert [path for path in hub.paths if path.startswith("/api/")] == hub.paths[:1] * 3


def test_a_hub_that_refuses_again_is_not_asked_a_third_time(hub: LoopbackHub, waits: list[float]) -> None:
    hub.throttle("/api/", "1", times=9)
    assert refusal() == "The Hub received too many requests from here, and asks to wait for 1 s."
    assert (len(hub.paths), waits) == (2, [1])


def test_a_file_that_another_process_fetches_is_waited_for_with_a_note(
    hub: LoopbackHub, home: Path, checkpoint: Path
) -> None:
    name = f"{etag(checkpoint / WEIGHTS)}.lock"
    lock = FileLock(home / "hub" / ".locks" / "models--acme--tiny" / name)
    Path(lock.lock_file).parent.mkdir(parents=True)
    noted = threading.Event()

    class Noted(Notes):
        def note(self, text: str) -> None:
            super().note(text)
            noted.set()

    notes = Noted()
    with lock:
        thread = threading.Thread(target=fetch_model, args=(REPO,), kwargs={"reporter": notes})
        thread.start()
        assert noted.wait(30)
        assert sent(hub, WEIGHTS) == []
    thread.join()
    assert notes.lines == [f"Waiting for another process, which fetches {WEIGHTS}"]
    assert find_model(REPO) is not None


@pytest.mark.parametrize("where", ["/config.json", f"/cdn/{REPO}"])
def test_a_server_that_never_answers_is_left(
    hub: LoopbackHub, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    hub.hang(where)
    assert refusal() == f"{hub.url} did not answer in time."


def test_a_body_that_stops_is_asked_for_again_with_a_note(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    hub.stall(f"/cdn/{REPO}", after=4000)
    notes = Notes()
    fetch_model(REPO, reporter=notes)
    size = (checkpoint / WEIGHTS).stat().st_size
    assert notes.lines == [
        f"{hub.url} is silent: waiting for the rest of {WEIGHTS}, after 4,000 of {size:,} bytes"
    ]
    assert sent(hub, WEIGHTS) == [None, "bytes=4000-"]


def test_a_login_in_an_address_is_never_shown(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    address = f"http://user:secret@127.0.0.1:{hub.port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    hub.alter = lambda info: []
    assert "secret" not in refusal()
    hub.show_page("/api/")
    assert refusal() == f"{hub.url} answered with a web page."
    monkeypatch.setattr(constants, "ENDPOINT", "http://user:secret@127.0.0.1:9")
    assert "secret" not in refusal()
    monkeypatch.setattr(constants, "ENDPOINT", "ftp://user:secret@host")
    assert "secret" not in refusal()
    monkeypatch.setattr(constants, "ENDPOINT", "http://user:secret@[bad")
    assert "secret" not in refusal()


ADDRESSES = [
    *("http://user:s3cr3t@127.0.0.1:9", "user:s3cr3t@127.0.0.1:9", "http://s3cr3t@127.0.0.1:9"),
    *(
        "http://user:1/s3cr3t@127.0.0.1:9",
        "http://user:s3cr3t/1@127.0.0.1:9",
        "http://u:s3cr3t x@127.0.0.1:9",
    ),
    *("http://127.0.0.1:9/?token=s3cr3t", "http://u:%733cr3t@127.0.0.1:9", "http://u:s3cr3t@@127.0.0.1:x"),
]


@pytest.mark.parametrize("variable", ["HF_ENDPOINT", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_form_of_an_address_shows_its_login(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    variable: str,
    address: str,
) -> None:
    for name, value in {"HF_ENDPOINT": "http://hub.invalid", variable: address}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "ENDPOINT", os.environ["HF_ENDPOINT"])
    huggingface_hub.close_session()
    with pytest.raises(HubError) as caught:
        fetch_model(REPO)
    huggingface_hub.close_session()
    _print_traceback(HubError, caught.value, caught.value.__traceback__)
    shown = str(caught.value) + capfd.readouterr().err
    assert "Traceback" in shown
    assert "3cr3t" not in shown


def test_a_traceback_of_a_refusal_shows_no_login(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"http://user:secret@127.0.0.1:{hub.port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    hub.fail("/api/", 404)
    with pytest.raises(HubError) as caught:
        fetch_model(REPO)
    _print_traceback(HubError, caught.value, caught.value.__traceback__)
    assert "secret" not in capfd.readouterr().err


def test_a_token_that_cannot_be_sent_is_not_shown(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_sécret")
    assert refusal() == "The request cannot be sent."


def test_a_listing_without_end_is_left(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt2cli.hub.network.listing.LONGEST_LISTING", 100)
    assert "longer than 100 bytes" in refusal()


@pytest.mark.parametrize("status", [200, 404, 500])
def test_an_answer_without_end_is_left(hub: LoopbackHub, status: int) -> None:
    hub.flood("/api/", status)
    refusal()
    hub.faults.clear()
    hub.flood("config.json", status)
    refusal()


def test_what_is_compressed_without_being_asked_for_is_not_unpacked(hub: LoopbackHub) -> None:
    hub.show_page("/api/")
    hub.faults[-1].encoding = "gzip, gzip"
    hub.faults[-1].page = gzip.compress(gzip.compress(bytes(8 << 20)))
    tracemalloc.start()
    assert "does not respond like the Hub" in refusal()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_listing_that_comes_without_end_is_left(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt2cli.hub.network.listing.LONGEST_WAIT", 0)
    assert refusal() == f"{hub.url} did not answer in time."


def test_sizes_that_no_file_has_are_unknown(hub: LoopbackHub) -> None:
    hub.alter = lambda info: info | {"siblings": [{**file, "size": 1 << 9999} for file in info["siblings"]]}
    assert not any(check.problem for check in verify_model(fetch_model(REPO)))


def test_a_listing_nested_without_end_is_left(hub: LoopbackHub) -> None:
    hub.show_page("/api/")
    hub.faults[-1].page = b"[" * 200_000
    assert "does not respond like the Hub" in refusal()
