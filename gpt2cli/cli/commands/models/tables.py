"""What `gpt2 models` prints: tables, or one JSON value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gpt2cli.cli.output.streams import json_line, write_stdout
from gpt2cli.cli.output.table import print_table
from gpt2cli.cli.output.units import size_text

if TYPE_CHECKING:
    from gpt2cli.hub.checks.verification import FileCheck
    from gpt2cli.hub.model_files import ModelFiles

SHORT_REVISION = 8

Record = Mapping[str, Any]


def print_models(records: Sequence[Record], json: bool) -> None:
    """Print a list of models."""
    if json:
        write_stdout(json_line(records))
        return
    rows = [
        (
            record["name"],
            record["dtype"] or record["kind"],
            size_text(record["bytes"]),
            (record["revision"] or "-")[:SHORT_REVISION],
            record["path"],
        )
        for record in records
    ]
    print_table(("NAME", "KIND", "SIZE", "REVISION", "PATH"), rows)


def print_facts(record: Record, json: bool) -> None:
    """Print the facts of one model."""
    if json:
        write_stdout(json_line(record))
    else:
        print_table(("FACT", "VALUE"), list(_fact_rows(record)))


def print_checks(records: Sequence[Record], json: bool) -> None:
    """Print the checks of files."""
    if json:
        write_stdout(json_line(records))
        return
    rows = [
        (
            record["model"],
            record["file"],
            str(record["bytes"]),
            record["check"],
            record["problem"] or record["result"],
        )
        for record in records
    ]
    print_table(("MODEL", "FILE", "BYTES", "CHECK", "RESULT"), rows)


def unverified(checks: Sequence[tuple[str, FileCheck]], found: Mapping[str, ModelFiles]) -> Iterator[str]:
    """Yield a line for each model with files whose hashes are unknown."""
    for name, files in found.items():
        count = sum(model == name and check.result == "unverified" for model, check in checks)
        if count:
            advice = f" To learn it: gpt2 download --force {name}." if files.revision else ""
            number = f"{count} file{'s' * (count != 1)}"
            yield f"{name}: the hash of {number} is unknown, so only the form was checked.{advice}"


def repair(damaged: Sequence[tuple[str, FileCheck]], found: Mapping[str, ModelFiles]) -> str:
    """Return what repairs damaged files of models."""
    if all(check.is_kept for _, check in damaged):
        return "use the model, which makes it again"
    cached = dict.fromkeys(name for name, check in damaged if found[name].revision and not check.is_kept)
    return f"gpt2 download --force {' '.join(cached)}" if cached else "copy it again from where it came"


def _fact_rows(facts: Record) -> Iterator[tuple[str, str]]:
    for fact, value in facts.items():
        if isinstance(value, Mapping):
            yield from ((f"{fact}: {part.replace('_', ' ')}", _shown(count)) for part, count in value.items())
        else:
            yield fact, _shown(value)


def _shown(value: str | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else value
