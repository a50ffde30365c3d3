"""Verification of a model's files, without asking the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gpt2cli.errors import CheckpointError
from gpt2cli.hub.cache import SHA256_DIGITS, expected_hash, matches_hash
from gpt2cli.hub.checkpoint_files import weights_index
from gpt2cli.hub.checks.file_form import malformation
from gpt2cli.hub.converted_files import conversion_place
from gpt2cli.hub.model_files import ModelFiles

FORM, CHECKSUM = "form", "checksum"

Result = Literal["ok", "unverified", "damaged"]


@dataclass(frozen=True)
class FileCheck:
    """The check of one file; `kind` is sha256, git-sha1 or, if no hash is known, form.

    Weights that were converted from the model's and kept have the kind checksum.
    """

    path: Path
    size: int
    kind: str
    problem: str = ""

    @property
    def result(self) -> Result:
        """What was found out: a file whose hash nobody knows may have any content of the right form."""
        if self.problem:
            return "damaged"
        return "unverified" if self.kind == FORM else "ok"

    @property
    def is_kept(self) -> bool:
        """Whether the file was made from the model's, and would be made again."""
        return self.kind == CHECKSUM

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the check in JSON output."""
        return {
            "file": self.path.name,
            "path": str(self.path),
            "bytes": self.size,
            "check": self.kind,
            "result": self.result,
            "problem": self.problem or None,
        }


def verify_model(files: ModelFiles) -> Iterator[FileCheck]:
    """Yield the check of each file: its hash if known, its format, and whether all files fit together.

    Files of converted weights follow, if there are any; one that is damaged is made again when it is needed.
    """
    sound = True
    index = weights_index(files.weights[0])
    # What was read from a GGUF file was checked then, and is checked again with it.
    read = [] if files.unpacked else [files.config, *files.tokenizer]
    adapter = [files.adapter.config, files.adapter.weights] if files.adapter else []
    optional = [path for path in (files.generation, index) if path]
    for path in (*adapter, *read, *optional, *files.weights):
        problem = _problem(path)
        sound = sound and not problem
        if path == files.weights[-1] and sound:
            # Damaged files cannot be compared with each other.
            problem = _misfit(files)
        yield FileCheck(path, path.stat().st_size, _kind(path), problem)
    if sound:
        yield from _kept_checks(files)


def _kept_checks(files: ModelFiles) -> Iterator[FileCheck]:
    from gpt2cli.checkpoint.conversion import is_damaged

    for path in conversion_place(files.sources).files:
        try:
            problem = "its numbers are not those that were written" if is_damaged(path) else ""
        except CheckpointError as error:
            problem = error.message.rstrip(".")
        yield FileCheck(path, path.stat().st_size, CHECKSUM, problem)


def _kind(path: Path) -> str:
    expected = expected_hash(path)
    if expected is None:
        return FORM
    return "sha256" if len(expected) == SHA256_DIGITS else "git-sha1"


def _problem(path: Path) -> str:
    # For a truncated file, the header is faster to check than the hash and explains more.
    problem = malformation(path)
    expected = expected_hash(path)
    if not problem and expected and not matches_hash(path, expected):
        return "its content does not match the Hub's hash"
    return problem


def _misfit(files: ModelFiles) -> str:
    try:
        files.read_checkpoint()
    except CheckpointError as error:
        return error.message.rstrip(".")
    return ""
