"""The options of commands that look inside a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import typer

from gpt2cli.cli.input.text import read_prompt
from gpt2cli.cli.options.shared import NEWLINES_HELP, OUTPUT, SPECIAL_HELP, flag
from gpt2cli.errors import UsageError
from gpt2cli.inspection.settings import HeadName, LensSettings, PassageSettings
from gpt2cli.text.reading.newlines import Newlines, with_lf

SELECTION = "What to show"
NUMBERS = re.compile(r"(-?\d{1,9})|(\d{1,9})-(\d{1,9})")
# No model has as many layers or positions.
MOST_NUMBERS = 1_000_000

_text = partial(typer.Option, rich_help_panel="Text")
_selection = partial(typer.Option, rich_help_panel=SELECTION)


class Numbers(tuple[int, ...]):
    """Whole numbers that were listed as 1,3-5."""


def parse_numbers(text: str) -> Numbers:
    """Read numbers and ranges between commas; negative numbers count from the end.

    Raises:
        UsageError: the text is no such list.
    """
    found: list[int] = []
    for part in text.split(","):
        match = NUMBERS.fullmatch(part.strip())
        if match is None:
            raise UsageError(f"{text!r} is not a list of numbers.", "Write it like 1,3-5 or -1.")
        first, last = int(match[1] or match[2]), int(match[1] or match[3])
        if not 0 <= last - first < MOST_NUMBERS:
            raise UsageError(f"{part!r} is not a range.", "Write it like 3-5.")
        found += range(first, last + 1)
    return Numbers(found)


def parse_head(text: str) -> HeadName:
    """Read LAYER.HEAD.

    Raises:
        UsageError: the text is not two numbers with a point between.
    """
    match = re.fullmatch(r"(\d{1,6})\.(\d{1,6})", text)
    if match is None:
        raise UsageError(f"--head {text!r} is not LAYER.HEAD.", "Count both from 0, such as 4.11.")
    return HeadName(int(match[1]), int(match[2]))


View = Annotated[
    bool,
    flag(
        "--view",
        rich_help_panel=OUTPUT,
        help="Draw as text; -o FILE.svg draws too.",
    ),
]
Json = Annotated[bool, flag("--json", rich_help_panel=OUTPUT, help="Print one JSON object.")]
Bos = Annotated[
    bool,
    flag("--bos/--no-bos", show_default="bos", help="Start with BOS."),
]
Special = Annotated[bool, flag("--special", help=SPECIAL_HELP)]


@dataclass(frozen=True, eq=False, repr=False)
class TextOptions:
    """Where the text comes from."""

    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", show_default=False, help="The text to read; - reads stdin."),
    ] = None
    file: Annotated[str | None, _text("--file", "-f", metavar="FILE", help="Read the text from FILE.")] = None
    newlines: Annotated[Newlines | None, _text(show_default="keep", help=NEWLINES_HELP)] = None

    def read(self, note: Callable[[str], None]) -> str:
        """Return the text, without the final line end of a file or of standard input.

        Raises:
            UsageError, InputError: as `read_prompt` does.
        """
        content = read_prompt(self.text, self.file, False, note, "TEXT")
        return with_lf(content) if self.newlines == "lf" else content


class PassageOptions(PassageSettings):
    """How the text is read."""

    bos: Bos
    special: Special


class LensOptions(LensSettings):
    """Which predictions are shown."""

    positions: Annotated[
        Numbers | None,
        _selection(
            "--position",
            metavar="N,A-B",
            parser=parse_numbers,
            show_default="all",
            help="Tokens; -1 is what follows.",
        ),
    ]
    layers: Annotated[
        Numbers | None,
        _selection(
            metavar="N,A-B",
            parser=parse_numbers,
            show_default="all",
            help="Layers; 0 is the embedding.",
        ),
    ]
    top: Annotated[int, _selection("--top", "-k", min=1, metavar="K", help="Tokens of each prediction.")]
    unit: Annotated[Literal["bits", "nats"], _selection("--unit", metavar="UNIT", help="bits or nats.")]
    bos: Bos
    special: Special


Head = Annotated[
    HeadName | None,
    _selection(
        "--head",
        metavar="LAYER.HEAD",
        parser=parse_head,
        show_default="all",
        help="Show one head, numbered from 0.",
    ),
]
