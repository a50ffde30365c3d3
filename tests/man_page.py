"""The man page, generated from the app's commands by `python tests/man_page.py`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import typer
from readme import DOCS, ROOT

from gpt2cli.cli.app import app

MAN_PAGE = ROOT / "man" / "gpt2.1"
CODE = re.compile(r"`([^`]+)`")
CONSTRAINTS = re.compile(r"(?:; )?[-\d.]*(?:<=)?x[<>]=[\d.]+")
VARIABLE = re.compile(r"^\| `([A-Z_0-9]+)` \| (.*) \|$", re.MULTILINE)


def man_page() -> str:
    """Return the page in the man macros of roff."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("gpt2", [], resilient_parsing=True)
    lines = [
        '.\\" Written by make man from the commands themselves.',
        '.TH GPT2 1 "" "gpt2cli" "User Commands"',
        ".SH NAME",
        f"gpt2 \\- {_text(_summary(group))}",
        ".SH SYNOPSIS",
        ".B gpt2",
        "[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...",
        ".SH DESCRIPTION",
        *_paragraphs(group.help),
        ".PP",
        _text(group.epilog),
        ".SH OPTIONS",
        *_options(group, context),
        ".SH COMMANDS",
        *_commands(group, context),
        ".SH ENVIRONMENT",
        *_environment(),
        ".SH SEE ALSO",
        "The guides in the folder docs of the sources, and \\fBgpt2 help\\fR \\fICOMMAND\\fR.",
    ]
    return "\n".join(lines) + "\n"


def _commands(group: Any, parent: Any) -> Iterator[str]:
    for name, command in group.commands.items():
        with command.make_context(name, [], parent=parent, resilient_parsing=True) as context:
            usage = context.get_usage().removeprefix("Usage: ")
            yield f".SS {_text(usage)}"
            yield from _paragraphs(command.help)
            if hasattr(command, "commands"):
                yield from _commands(command, context)
            else:
                yield from _options(command, context)


def _options(command: Any, context: Any) -> Iterator[str]:
    panels: dict[str | None, list[Any]] = defaultdict(list)
    for parameter in command.get_params(context):
        if not getattr(parameter, "hidden", False) and parameter.name != "help":
            panels[getattr(parameter, "rich_help_panel", None)].append(parameter)
    # What has no panel stands first in the help, too.
    for panel in sorted(panels, key=lambda panel: panel is not None):
        if panel:
            yield ".PP"
            yield f"{_text(panel)}:"
        for parameter in panels[panel]:
            names, help_text = parameter.get_help_record(context)
            yield ".TP"
            yield f"\\fB{_text(names)}\\fR"
            yield _text(_without_constraints(help_text)) or "\\&"


def _without_constraints(help_text: str) -> str:
    return CONSTRAINTS.sub("", help_text).replace("  []", "").replace("  [", " [")


def _environment() -> Iterator[str]:
    _, _, section = (DOCS / "scripts.md").read_text().partition("## Environment variables")
    for name, meaning in VARIABLE.findall(section):
        yield ".TP"
        yield f"\\fB{name}\\fR"
        yield _text(meaning)


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        example = CODE.fullmatch(paragraph.strip())
        yield ".PP"
        yield from [".nf", f"    {_text(example[1])}", ".fi"] if example else [_text(paragraph)]


def _summary(group: Any) -> str:
    summary: str = group.help.partition(": ")[2].rstrip(".")
    return summary


def _text(text: str) -> str:
    """Return text as roff has it, with `code` in bold."""
    # The help is Markdown, where a backslash is spelled twice.
    plain = " ".join(text.split()).replace("\\\\", "\\")
    escaped = plain.replace("\\", "\\e").replace("-", "\\-")
    if escaped[:1] in (".", "'"):
        escaped = "\\&" + escaped
    return CODE.sub(r"\\fB\1\\fR", escaped)


if __name__ == "__main__":
    MAN_PAGE.parent.mkdir(exist_ok=True)
    MAN_PAGE.write_text(man_page())
