"""Options that decide how a text is scored, and how the next token is predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gpt2cli.cli.input.text import argument_text
from gpt2cli.cli.options.sampling import Truncate
from gpt2cli.cli.options.shared import NEWLINES_HELP, SPECIAL_HELP, flag
from gpt2cli.scoring.settings import NextSettings, ScoringSettings
from gpt2cli.text.reading.newlines import Newlines

if TYPE_CHECKING:
    from gpt2cli.cli.options.rows import RowOptions
    from gpt2cli.text.reading.notes import KnownTokens, TextNotes

SCORING = "Scoring"

_scoring = partial(typer.Option, rich_help_panel=SCORING)
_scoring_flag = partial(flag, rich_help_panel=SCORING)

Special = Annotated[bool, _scoring_flag("--special", help=SPECIAL_HELP)]
Unit = Annotated[Literal["bits", "nats"], _scoring("--unit", metavar="UNIT", help="bits or nats.")]
Bos = Annotated[
    bool | None,
    _scoring_flag(
        "--bos/--no-bos",
        show_default="bos",
        help="Start texts with BOS.",
    ),
]
Window = Annotated[
    int | None,
    _scoring("--window", metavar="N", show_default="context", help="Tokens read at once."),
]
Stride = Annotated[
    int | None,
    _scoring("--stride", metavar="N", show_default="half a window", help="Window step."),
]
BatchSize = Annotated[
    int | None,
    _scoring("--batch-size", metavar="N", show_default="1 on a CPU, else 8", help="Windows at once."),
]


class ScoringOptions(ScoringSettings):
    """How texts are scored."""

    special: Special
    unit: Unit
    bos: Bos
    window: Window
    stride: Stride
    batch_size: BatchSize


class ProtocolOptions(ScoringSettings):
    """How texts are scored, by this tool's own scheme or as another tool does."""

    special: Special
    newlines: Annotated[Newlines | None, _scoring(show_default="keep", help=NEWLINES_HELP)]
    unit: Unit
    bos: Bos
    window: Window
    stride: Stride
    protocol: Annotated[
        Literal["hf", "lm-eval", "llama.cpp"] | None,
        _scoring(
            "--protocol", metavar="TOOL", show_default=False, help="Perplexity as hf, lm-eval or llama.cpp."
        ),
    ]
    batch_size: BatchSize
    correction: Annotated[
        Literal["pimentel-meister", "wordsprobability", "minicons"],
        _scoring("--correction", metavar="NAME", help="Of white space."),
    ]

    punctuation: Annotated[
        Literal["attached", "apart"],
        _scoring("--punctuation", metavar="HOW", help="Part of a word, or words apart."),
    ]

    def notes(
        self, note: Callable[[str], None], tokenizer: KnownTokens, rows: RowOptions | None
    ) -> TextNotes:
        """Return what notes the texts of rows deserve; None stands for lines, which are their own texts."""
        from gpt2cli.text.reading.notes import TextNotes

        split = rows and rows.split
        crlf = rows is not None and split != "line" and self.newlines is None
        separated = None if rows is None else split == "endoftext"
        return TextNotes(note, tokenizer, self.special, crlf=crlf, separated=separated)


@dataclass(frozen=True, eq=False, repr=False)
class CandidateOptions:
    """Continuations to rank in place of the likeliest tokens."""

    candidates: Annotated[
        str | None,
        typer.Option(
            "--candidates",
            metavar="A,B,C",
            show_default=False,
            help="Rank these instead, spelled exactly: ' mat, rug' both begin with a space.",
        ),
    ] = None
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            "--candidate",
            metavar="TEXT",
            show_default=False,
            help="Rank TEXT too, commas included; may be repeated.",
        ),
    ] = None

    def texts(self) -> Sequence[str]:
        """Return all candidates.

        Raises:
            InputError: one is not UTF-8.
        """
        listed = [] if self.candidates is None else self.candidates.split(",")
        return [argument_text(text, "--candidate") for text in (*listed, *(self.candidate or ()))]


class NextOptions(NextSettings):
    """How the next token is predicted."""

    special: Special
    top: Annotated[int, typer.Option("--top", "-k", min=1, metavar="K", help="Print the K likeliest tokens.")]
    unit: Annotated[Literal["bits", "nats"], _scoring("--unit", metavar="UNIT", help="bits or nats.")]
    bos: Annotated[
        bool | None,
        _scoring_flag("--bos/--no-bos", show_default="model's", help="Start with BOS."),
    ]
    truncate: Truncate
