"""The records of a run as JSON Lines, one for each step and each evaluation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt2cli.checkpoint.whole_file import whole_file


class TrainingLog:
    """A file of records, each appended at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record.

        Raises:
            OSError: the disk is full.
        """
        line = _line(record)
        # One unbuffered write per line, which a kill can hardly cut.
        with self._path.open("ab", buffering=0) as file:
            file.write(line)

    def read(self) -> list[dict[str, Any]]:
        """Return all complete records, without any that are damaged."""
        if not self._path.is_file():
            return []
        lines = self._path.read_bytes().splitlines(keepends=True)
        return [record for line in lines if line.endswith(b"}\n") and (record := _parsed(line))]

    def keep_until(self, step: int, evaluated_step: int) -> None:
        """Drop the steps after a step and the evaluations after an evaluated one, which will be repeated."""
        records = self.read()
        with whole_file(self._path) as file:
            for record in records:
                if record["step"] <= (evaluated_step if "valid_loss" in record else step):
                    file.write(_line(record))


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line, or None; a run goes on without it."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return None
    losses = [record[name] for name in ("loss", "valid_loss") if name in record]
    return record if losses and all(type(loss) in (int, float) for loss in losses) else None
