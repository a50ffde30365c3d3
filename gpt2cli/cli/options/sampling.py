"""Options that say how a text is continued: how each token is chosen, and how far it goes."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

import typer

from gpt2cli.cli.options.shared import COMPUTE, Special, flag
from gpt2cli.errors import UsageError
from gpt2cli.generation.settings import MAX_SEED, SampleSettings, TextBias

LENGTH, SAMPLING, PENALTIES = "Length", "Sampling", "Repetition and bias"

_length = partial(typer.Option, rich_help_panel=LENGTH)
_sampling = partial(typer.Option, rich_help_panel=SAMPLING)
_penalty = partial(typer.Option, rich_help_panel=PENALTIES)


def parse_bias(entry: str) -> TextBias:
    """Read TEXT=X.

    Raises:
        UsageError: X is missing or is no finite number.
    """
    text, _, number = entry.rpartition("=")
    try:
        logits = float(number)
    except ValueError:
        logits = math.nan
    if not math.isfinite(logits):
        raise UsageError(f"--bias {entry!r} is not TEXT=X.", "X is a number of logits, such as -2.5.")
    return TextBias(text, logits)


Truncate = Annotated[
    Literal["left", "right"] | None,
    _length("--truncate", show_default="refuse", help="Cut a prompt that exceeds the context, on this side."),
]


class CompletionOptions(SampleSettings):
    """How a prompt is continued."""

    special: Special
    max_tokens: Annotated[
        int, _length("--max-tokens", "-n", min=0, metavar="N", help="Stop after N new tokens.")
    ]
    stop: Annotated[
        list[str], _length(metavar="TEXT", show_default=False, help="Stop before TEXT; may be repeated.")
    ]
    ignore_eos: Annotated[
        bool, flag("--ignore-eos", rich_help_panel=LENGTH, help="Never choose the end-of-text token.")
    ]
    truncate: Truncate
    overflow: Annotated[
        Literal["stop", "slide"],
        _length(help="At the end of the context stop, or keep its newest half and go on."),
    ]
    temperature: Annotated[
        float,
        _sampling(
            "--temperature",
            "--temp",
            min=0.0,
            metavar="T",
            help="Sharpen (below 1) or flatten (above 1) the distribution; 0 takes the likeliest token.",
        ),
    ]
    top_k: Annotated[int, _sampling(min=0, metavar="K", help="Keep the K likeliest tokens; 0 is off.")]
    top_p: Annotated[
        float,
        _sampling(max=1.0, metavar="P", help="Keep the likeliest tokens that together reach P; 1 is off."),
    ]
    min_p: Annotated[
        float,
        _sampling(
            min=0.0,
            max=1.0,
            metavar="P",
            help="Keep tokens at least P times as likely as the likeliest; 0 is off.",
        ),
    ]
    seed: Annotated[
        int | None,
        _sampling(
            "--seed",
            "-s",
            min=0,
            max=MAX_SEED,
            metavar="N",
            show_default="random",
            help="The same seed gives the same text; -v and --json show it.",
        ),
    ]
    num_samples: Annotated[int, _sampling(min=1, metavar="N", help="Continue the prompt N times.")]
    batch_size: Annotated[int, _sampling(min=1, metavar="N", help="Run at most N samples at once.")]
    repetition_penalty: Annotated[
        float, _penalty(metavar="X", help="Divide the logits of tokens seen before by X; 1 is off.")
    ]
    presence_penalty: Annotated[
        float, _penalty(metavar="X", help="Subtract X from the logits of generated tokens; 0 is off.")
    ]
    frequency_penalty: Annotated[
        float, _penalty(metavar="X", help="Subtract X for each time they were generated; 0 is off.")
    ]
    no_repeat_ngram: Annotated[
        int, _penalty(min=0, metavar="N", help="Never repeat a run of N tokens; 0 is off.")
    ]
    bias: Annotated[
        list[TextBias],
        _penalty(
            metavar="TEXT=X",
            parser=parse_bias,
            show_default=False,
            help="Add X to the logit of TEXT, spelled exactly; may be repeated.",
        ),
    ]
    ban: Annotated[
        list[str],
        _penalty(metavar="TEXT", show_default=False, help="Never complete TEXT; may be repeated."),
    ]
    logprobs: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            show_default="off",
            help="With --json, tell log-probabilities in nats, and the N likeliest tokens at each place.",
        ),
    ]
    speculate: Annotated[
        bool,
        flag(
            "--speculate/--no-speculate",
            rich_help_panel=COMPUTE,
            help="Draft tokens from earlier text: faster where a text repeats itself. One sample at a time.",
        ),
    ]

    def report(self) -> dict[str, Any]:
        """Return the settings that decide a text, beside prompt, seed and model, as --json reports them."""
        values = asdict(self)
        biases = [f"{text}={logits:g}" for text, logits in self.text_biases]
        return {name: values[name] for name in REPORTED} | {
            "bias": biases or None,
            "ban": self.ban or None,
            "stop": self.stop or None,
        }


REPORTED = (
    *("max_tokens", "stop", "ignore_eos", "truncate", "overflow", "special"),
    *("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty"),
    *("frequency_penalty", "no_repeat_ngram", "bias", "ban"),
)
