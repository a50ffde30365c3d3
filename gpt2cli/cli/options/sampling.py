"""The options that say how a text is continued: how far, and how each token is chosen."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from gpt2cli.cli.options.shared import COMPUTE, flag

LENGTH, SAMPLING = "Length", "Sampling"
MAX_SEED = 2**64 - 1

MaxTokens = Annotated[
    int,
    typer.Option(
        "--max-tokens", "-n", min=0, metavar="N", rich_help_panel=LENGTH, help="Stop after N new tokens."
    ),
]
Stop = Annotated[
    list[str] | None,
    typer.Option(
        "--stop",
        metavar="TEXT",
        rich_help_panel=LENGTH,
        show_default=False,
        help="Stop before TEXT; may be repeated.",
    ),
]
IgnoreEos = Annotated[
    bool, flag("--ignore-eos", rich_help_panel=LENGTH, help="Never choose the end-of-text token.")
]
Truncate = Annotated[
    Literal["left", "right"] | None,
    typer.Option(
        "--truncate",
        rich_help_panel=LENGTH,
        show_default="refuse",
        help="Cut a prompt that exceeds the context, on this side.",
    ),
]
Overflow = Annotated[
    Literal["stop", "slide"],
    typer.Option(
        "--overflow",
        rich_help_panel=LENGTH,
        help="At the end of the context stop, or keep its newest half and go on.",
    ),
]
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature",
        "--temp",
        min=0.0,
        metavar="T",
        rich_help_panel=SAMPLING,
        help="Sharpen (below 1) or flatten (above 1) the distribution; 0 takes the likeliest token.",
    ),
]
TopK = Annotated[
    int,
    typer.Option(
        "--top-k", min=0, metavar="K", rich_help_panel=SAMPLING, help="Keep the K likeliest tokens; 0 is off."
    ),
]
TopP = Annotated[
    float,
    typer.Option(
        "--top-p",
        max=1.0,
        metavar="P",
        rich_help_panel=SAMPLING,
        help="Keep the likeliest tokens that together reach P, above 0; 1 is off.",
    ),
]
MinP = Annotated[
    float,
    typer.Option(
        "--min-p",
        min=0.0,
        max=1.0,
        metavar="P",
        rich_help_panel=SAMPLING,
        help="Keep tokens at least P times as likely as the likeliest; 0 is off.",
    ),
]
RepetitionPenalty = Annotated[
    float,
    typer.Option(
        "--repetition-penalty",
        metavar="X",
        rich_help_panel=SAMPLING,
        help="Divide the logits of tokens seen before by X, above 0; 1 is off.",
    ),
]
PresencePenalty = Annotated[
    float,
    typer.Option(
        "--presence-penalty",
        metavar="X",
        rich_help_panel=SAMPLING,
        help="Subtract X, of any size, from the logits of tokens already generated; 0 is off.",
    ),
]
FrequencyPenalty = Annotated[
    float,
    typer.Option(
        "--frequency-penalty",
        metavar="X",
        rich_help_panel=SAMPLING,
        help="Subtract X, of any size, for each time they were generated; 0 is off.",
    ),
]
NoRepeatNgram = Annotated[
    int,
    typer.Option(
        "--no-repeat-ngram",
        min=0,
        metavar="N",
        rich_help_panel=SAMPLING,
        help="Never repeat a run of N tokens; 0 is off.",
    ),
]
Bias = Annotated[
    list[str] | None,
    typer.Option(
        "--bias",
        metavar="TEXT=X",
        rich_help_panel=SAMPLING,
        show_default=False,
        help="Add X, of any size, to the logit of TEXT, spelt exactly, spaces included; may be repeated.",
    ),
]
Ban = Annotated[
    list[str] | None,
    typer.Option(
        "--ban",
        metavar="TEXT",
        rich_help_panel=SAMPLING,
        show_default=False,
        help="Never complete TEXT, spelt exactly; may be repeated.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        "-s",
        min=0,
        max=MAX_SEED,
        metavar="N",
        rich_help_panel=SAMPLING,
        show_default="chosen anew; -v and --json tell it",
        help="The same seed gives the same text.",
    ),
]
NumSamples = Annotated[
    int,
    typer.Option(
        "--num-samples", min=1, metavar="N", rich_help_panel=SAMPLING, help="Continue the prompt N times."
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size", min=1, metavar="N", rich_help_panel=SAMPLING, help="Run at most N samples at once."
    ),
]
Speculate = Annotated[
    bool,
    flag(
        "--speculate/--no-speculate",
        rich_help_panel=COMPUTE,
        help="Guess tokens from earlier text and check them together: sooner where a text repeats itself, "
        "else a little later, and the same text up to rounding. Only where one sample runs at once.",
    ),
]
