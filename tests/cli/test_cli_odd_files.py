"""Files that are damaged, odd, or change while they are used: one line, and no bug."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from stat import S_IMODE, S_ISDIR
from typing import Any

import pytest
import torch
from backends import needs_kernels
from checkpoints import save_checkpoint, save_model_folder
from conftest import Gpt2, obey_permissions, run_limited
from safetensors.torch import load_file

from gpt2cli.checkpoint.whole_file import whole_file, whole_folder
from gpt2cli.cli.output.streams import atomic_file
from gpt2cli.errors import CheckpointError, UsageError
from gpt2cli.hub.model_files import find_model
from gpt2cli.model.model import load_model
from gpt2cli.ops.backend import open_backend


@needs_kernels
@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantize", "pattern"),
    [("none", "model/model.safetensors"), ("int8", "assets/gpt2cli/*.safetensors"), ("none", "model/*.bin")],
    ids=["mapped", "kept", "pickled"],
)
def test_a_file_that_shrinks_while_it_is_used_is_named(
    tmp_path: Path, environment: dict[str, str], quantize: str, pattern: str
) -> None:
    folder = tmp_path / "model"
    save_model_folder(folder, n_embd=256, n_head=4, tie_word_embeddings=False)
    if pattern.endswith("bin"):
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    code = (
        "import os, sys; from pathlib import Path; from gpt2cli import load\n"
        f"model = load({str(folder)!r}, device='cpu', quantize={quantize!r})\n"
        f"(path,) = Path({str(tmp_path)!r}).glob({pattern!r}); os.truncate(path, 4096)\n"
        "print(path, flush=True); weight = model.model.weights['layers.0.mlp_in.weight']\n"
        "getattr(weight, 'panels', weight).sum()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"HF_ASSETS_CACHE": str(tmp_path / "assets")},
        capture_output=True,
        text=True,
        check=False,
    )
    path = result.stdout.strip()
    assert (result.returncode, result.stderr) == (
        1,
        f"Error: {path} was cut short while it was used. Restore it, and run the command again.\n",
    )


@needs_kernels
def test_another_bus_error_ends_the_process_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 16))
    code = (
        "import mmap, os; from pathlib import Path\n"
        "from gpt2cli.checkpoint.formats.mapped_files import watch_mapping\n"
        f"path = Path({str(path)!r}); file = path.open('r+b')\n"
        "ours, other = mmap.mmap(file.fileno(), 0), mmap.mmap(file.fileno(), 0)\n"
        "watch_mapping(path, ours); os.truncate(path, 0); other[40000]"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (-7, b"")


@pytest.fixture(scope="module")
def pickled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pickled")
    save_model_folder(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def load(folder: Path, **options: Any) -> Any:
    files = find_model(str(folder))
    assert files is not None
    return load_model(files, open_backend("cpu", threads=1, **options))


def repack(path: Path, compression: int, padding: bytes = b"") -> None:
    """Write an archive's entries anew, the padding in a comment that moves them to other bytes."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            entry = zipfile.ZipInfo(name)
            entry.compress_type, entry.extra = compression, padding
            archive.writestr(entry, data)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_archive_is_refused(pickled: Path, tmp_path: Path, compression: int) -> None:
    folder = shutil.copytree(pickled, tmp_path / "model")
    repack(folder / "pytorch_model.bin", compression)
    with pytest.raises(CheckpointError, match="is a compressed archive"):
        load(folder)


@pytest.mark.parametrize("padding", [b"", b"zz\x01\x00.", b"zz\x02\x00.."], ids=len)
def test_an_archive_whose_tensors_begin_anywhere_gives_the_same_weights(
    pickled: Path, tmp_path: Path, padding: bytes
) -> None:
    folder = shutil.copytree(pickled, tmp_path / "model")
    repack(folder / "pytorch_model.bin", zipfile.ZIP_STORED, padding)
    one, other = load(pickled), load(folder)
    for name, weight in one.weights.items():
        found = other.weights[name]
        assert (getattr(found, "array", found) == getattr(weight, "array", weight)).all()
    assert other.ops.to_numpy(other.weights["final_norm.weight"]).flags.aligned


WEIGHT = "transformer.h.0.mlp.c_fc.weight"
ODD: dict[str, Any] = {
    "quantized": lambda it: torch.quantize_per_tensor(it, 0.1, 0, torch.qint8),
    "sparse": lambda it: it.to_sparse(),
    "without numbers": lambda it: it.to("meta"),
    "complex": lambda it: it.to(torch.complex64),
    "a text": lambda it: "x",
    "repeated": lambda it: torch.zeros(1).expand(1 << 20, 1 << 20),
    "repeated in shape": lambda it: torch.zeros(1).expand(it.shape),
    "in float8": lambda it: it.to(torch.float8_e4m3fn),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_tensor_is_refused_in_a_line(pickled: Path, tmp_path: Path, kind: str) -> None:
    folder = shutil.copytree(pickled, tmp_path / "model")
    path = folder / "pytorch_model.bin"
    tensors = torch.load(path)
    torch.save(tensors | {WEIGHT: ODD[kind](tensors[WEIGHT])}, path)
    with pytest.raises(CheckpointError) as raised:
        load(folder)
    assert str(path) in raised.value.message
    torch.save(tensors | {3: tensors[WEIGHT]}, path)
    with pytest.raises(CheckpointError, match="damaged or contains more than tensors"):
        load(folder)


@needs_kernels
def test_sums_too_long_for_int8_are_refused_with_what_helps(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, n_inner=65_537, n_embd=4, n_head=1, n_layer=1)
    with pytest.raises(CheckpointError, match=r"mlp_out.weight sums 65,537 products") as raised:
        load(tmp_path, quantize="int8")
    assert raised.value.hint == "Leave out `quantize`."


@pytest.mark.parametrize("threads", [1025, 100_000, 1 << 63, 10**30, 0, -1])
@pytest.mark.parametrize("backend", ["auto", "torch", "numpy"])
def test_no_backend_takes_more_threads_than_a_machine_has(threads: int, backend: str) -> None:
    with pytest.raises(UsageError, match="is not a number of threads"):
        open_backend("cpu", backend, threads=threads)


@pytest.mark.slow
def test_an_endless_number_of_threads_is_refused_in_a_line(gpt2: Gpt2) -> None:
    for number in ("100000", "9223372036854775808"):
        result = gpt2("generate", "a", "-m", "stories", "--threads", number, "--backend", "torch")
        assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (2, b"", 1)
        assert b"Use 1 to 1,024" in result.stderr


def test_an_output_keeps_the_permissions_of_the_file_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_bytes(b"old")
    for mode in (0o600, 0o640, 0o755, 0o444):
        path.chmod(mode)
        with atomic_file(path) as file:
            file.write(b"new")
            (aside,) = (other for other in tmp_path.iterdir() if other != path)
            assert S_IMODE(aside.stat().st_mode) == mode
        assert (path.read_bytes(), S_IMODE(path.stat().st_mode)) == (b"new", mode)


def test_an_output_is_replaced_where_permissions_cannot_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("os.fchmod", refuse)
    with atomic_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    path.chmod(0o600)
    with pytest.raises(PermissionError), atomic_file(path) as file:
        file.write(b"newer")
    assert path.read_bytes() == b"new"


def test_files_and_folders_appear_where_folders_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        sync(descriptor)

    monkeypatch.setattr("os.fsync", refuse_folders)
    with whole_file(tmp_path / "file") as file:
        file.write(b"new")
    with whole_folder(tmp_path / "folder") as folder:
        (folder / "file").write_bytes(b"new")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "file", "folder"]


def test_an_error_in_a_new_folder_names_it_as_users_know_it(tmp_path: Path) -> None:
    def fill() -> None:
        with whole_folder(tmp_path / "out") as folder:
            (folder / "file").mkdir()
            (folder / "file").write_bytes(b"")

    with pytest.raises(IsADirectoryError) as raised:
        fill()
    assert raised.value.filename == str(tmp_path / "out" / "file")


def test_what_cannot_be_removed_is_named_by_its_path(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = tmp_path / "assets" / "gpt2cli" / "model.unpacked"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"")
    folder.chmod(0o555)
    variables = environment | {"HF_ASSETS_CACHE": str(tmp_path / "assets")}
    result = run_limited(["models", "prune", "-y"], variables, obey_permissions)
    folder.chmod(0o755)
    assert result.stderr == f"Error: {folder}: Permission denied.\n".encode()


@pytest.mark.parametrize("exists", [True, False])
def test_an_output_goes_where_a_symbolic_link_leads(tmp_path: Path, exists: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "file"
    if exists:
        target.write_bytes(b"old")
    links = [tmp_path / "one", tmp_path / "two"]
    links[0].symlink_to("two")
    links[1].symlink_to("elsewhere/file")
    with atomic_file(links[0]) as file:
        file.write(b"new")
    assert target.read_bytes() == b"new"
    assert all(link.is_symlink() for link in links)
    assert [path.name for path in target.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "name", ["x" * 255, "é" * 127, "x" * 250 + ".json"], ids=["ascii", "accents", "json"]
)
def test_an_output_may_have_the_longest_name(tmp_path: Path, name: str) -> None:
    with atomic_file(tmp_path / name) as file:
        file.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.slow
def test_an_error_names_the_output_and_no_other_file(gpt2: Gpt2, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    for output in ("nowhere/out", "x" * 300, "loop", "file/out"):
        result = gpt2("tokenize", "--text", "a", "-o", tmp_path / output)
        assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
        assert result.stderr.startswith(f"Error: {tmp_path / output}: ".encode())
        assert b".tmp" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]
