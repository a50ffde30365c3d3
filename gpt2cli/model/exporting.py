"""Exporting a model: as a GGUF file, or as a folder that transformers opens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2cli.errors import InputError, UsageError
from gpt2cli.hub.checkpoint_files import CONFIG, GGUF
from gpt2cli.hub.model_files import fetch_model
from gpt2cli.hub.reporter import Reporter

if TYPE_CHECKING:
    from gpt2cli.checkpoint.config import ModelConfig
    from gpt2cli.checkpoint.formats.safetensors import Arrays
    from gpt2cli.ops.operations import StoredTensor
    from gpt2cli.text.tokenizer import Tokenizer

# What programs call the types, and GGUF and safetensors files.
TYPES = {"f32": "F32", "f16": "F16", "q8_0": "Q8_0"}
FOLDER_TYPES = ("f32", "f16")
# What users may take for the name of a file of weights.
OTHER_FILES = (".safetensors", ".bin", ".pt", ".pth")


def export(
    name: str,
    output: Path | str,
    *,
    type: str | None = None,  # noqa: A002
    force: bool = False,
    offline: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Write a model as a GGUF file if `output` ends in .gguf, else as a folder that transformers opens.

    `type` is f32, f16 or, in GGUF files, q8_0; None keeps the stored types, and makes f32 of what is
    quantized. The output appears whole or not at all; `force` replaces a file, or the folder of a model.
    Returns its path.

    Raises:
        UsageError: the output is there and `force` is false, or it cannot hold such a model.
        HubError, CheckpointError: the model cannot be found, fetched or read.
        InputError: the output cannot be written.
        Error: the gguf package is needed and not installed.
    """
    reporter = reporter or Reporter()
    path = Path(output)
    _require_type(path, type)
    _require_vacant(path, force)
    files = fetch_model(name, offline=offline, reporter=reporter)
    if files.folder.resolve() == path.resolve():
        raise UsageError(f"{path} holds the model itself.", "Name another folder with `output`.")
    from gpt2cli.text.loading import load_tokenizer
    from gpt2cli.text.stored.saving import tokenizer_files

    config, stored = files.read_checkpoint(reporter.note)
    tokenizer = load_tokenizer(files, config)
    with reporter.working(f"Writing {path}"):
        try:
            if path.suffix == GGUF:
                _write_file(path, config, stored, tokenizer, type and TYPES[type])
            else:
                beside = {file.name: file.read_text("utf-8") for file in (files.generation,) if file}
                beside |= tokenizer_files(tokenizer, config)
                _write_folder(path, config, _arrays(stored, type and TYPES[type]), beside)
        except OSError as error:
            raise InputError(f"{error.filename or path}: {error.strerror or error}.") from error
    return path


def _require_type(path: Path, type_name: str | None) -> None:
    if path == Path("-"):
        raise UsageError("A model cannot go to stdout.", "Name a file or a folder with `output`.")
    if path.suffix in OTHER_FILES:
        raise UsageError(
            f"{path} is neither a {GGUF} file nor a folder.",
            "Name a folder, which gets all files of the model.",
        )
    known = tuple(TYPES) if path.suffix == GGUF else FOLDER_TYPES
    if type_name is not None and type_name not in known:
        what = f"of a {GGUF} file" if path.suffix == GGUF else "of a folder"
        raise UsageError(f"`type` {what} must be {' or '.join(known)}, not {type_name!r}.")


def _require_vacant(path: Path, force: bool) -> None:
    if path.suffix == GGUF:
        if path.is_dir():
            raise UsageError(f"{path} is a folder.", "Name another file with `output`.")
        if path.exists() and not force:
            raise UsageError(f"{path} is there already.", "`force` replaces it.")
        return
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, not a folder.", "Name another with `output`.")
    if path.resolve() == Path.cwd():
        # Whoever is in a folder would be left in the one that it replaces.
        raise UsageError(f"{path} is the current folder.", "Name a new folder with `output`.")
    if not path.is_dir() or not any(path.iterdir()):
        return
    # Nothing but a model is removed.
    if not (path / CONFIG).is_file():
        raise UsageError(f"{path} holds other files than a model's.", "Name another folder with `output`.")
    if not force:
        raise UsageError(f"{path} is not empty.", "`force` replaces it.")


def _write_file(
    path: Path,
    config: ModelConfig,
    stored: Mapping[str, StoredTensor],
    tokenizer: Tokenizer,
    storage: str | None,
) -> None:
    from gpt2cli.checkpoint.gguf.saving import save_gguf

    path.parent.mkdir(parents=True, exist_ok=True)
    special_ids = tokenizer.bos_id, tokenizer.eos_id
    save_gguf(path, config, stored, tokenizer.to_json(), special_ids, storage)


def _write_folder(path: Path, config: ModelConfig, arrays: Arrays, beside: Mapping[str, str]) -> None:
    from gpt2cli.checkpoint.saving import save_model
    from gpt2cli.checkpoint.whole_file import whole_folder

    with whole_folder(path) as folder:
        save_model(folder, config, arrays, beside)


def _arrays(stored: Mapping[str, StoredTensor], storage: str | None) -> Arrays:
    import numpy as np

    from gpt2cli.checkpoint.gguf.quantized import dequantized, numbers_of

    if storage is None:
        return {name: tensor.array for name, tensor in dequantized(stored).items()}
    dtype = {"F32": np.float32, "F16": np.float16}[storage]
    return {name: numbers_of(tensor).astype(dtype, copy=False) for name, tensor in stored.items()}
