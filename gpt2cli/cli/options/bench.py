"""The options of `gpt2 bench`: what to measure, and the form of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gpt2cli.benchmark.measurements import MEASURES
from gpt2cli.benchmark.settings import PEER_NAMES, SpeedSettings
from gpt2cli.cli.input.text import read_text
from gpt2cli.cli.options.shared import flag

SPEED, QUALITY = "Speed", "Quality"
# They stand side by side.
_UNUSUAL = [name for name, measure in MEASURES.items() if not measure.usual]

_speed = partial(typer.Option, rich_help_panel=SPEED)
_quality = partial(typer.Option, rich_help_panel=QUALITY)


def parse_names(listed: str) -> list[str]:
    """Return the names of a list with commas."""
    return [name.strip() for name in listed.split(",")]


def parse_measures(listed: str) -> list[str]:
    """Return the names of measures, whose words a hyphen may join too."""
    return [name.replace("-", "_") for name in parse_names(listed)]


@dataclass(frozen=True)
class SpeedOptions(SpeedSettings):
    """What to measure of a model's speed."""

    only: Annotated[
        Sequence[str] | None,
        _speed(
            metavar="MEASURE,...",
            parser=parse_measures,
            show_default=f"all but {_UNUSUAL[0]} to {_UNUSUAL[-1]}",
            help=f"Measure only these: {', '.join(MEASURES)}.",
        ),
    ]
    against: Annotated[
        Sequence[str] | None,
        _speed(
            metavar="ENGINE,...",
            parser=parse_names,
            show_default=False,
            help=f"Compare with other engines, if installed: {', '.join(PEER_NAMES)}.",
        ),
    ]
    gguf: Annotated[
        list[Path],
        _speed(
            metavar="FILE",
            show_default="*.gguf in the model's folder",
            help="Run FILE in llama.cpp; may be repeated.",
        ),
    ]
    rounds: Annotated[int, _speed(min=1, metavar="N", help="Measure N times and report medians.")]
    prompt_tokens: Annotated[int, _speed(min=1, metavar="N", help="Prefill N tokens.")]
    tokens: Annotated[int, _speed("--tokens", "-n", min=1, metavar="N", help="Decode N tokens.")]
    batch: Annotated[int, _speed(min=1, metavar="N", help="For batch, decode N samples at once.")]
    prompts: Annotated[int, _speed(min=1, metavar="N", help="Of many prompts, continue N.")]
    clients: Annotated[int, _speed(min=1, metavar="N", help="For server and gap, ask with N clients.")]


@dataclass(frozen=True)
class QualityOptions:
    """Whether to measure quality, and on which text."""

    quality: Annotated[
        bool,
        flag("--quality", rich_help_panel=QUALITY, help="Compare perplexity with float32, instead of speed."),
    ] = False
    text: Annotated[
        str | None,
        _quality(metavar="FILE", show_default="parts of five books", help="Held-out text; - is stdin."),
    ] = None

    def read(self) -> str:
        """Return the held-out text.

        Raises:
            InputError: it cannot be read or is not UTF-8.
        """
        from gpt2cli.benchmark.workload import HELD_OUT

        return read_text(self.text or str(HELD_OUT))


@dataclass(frozen=True)
class ReportOptions:
    """The form of the report; a table if none is asked for."""

    json: Annotated[bool, flag("--json", help="Print one JSON object, with the range of the rounds.")] = False
    markdown: Annotated[bool, flag("--markdown", help="Print a table in Markdown.")] = False
