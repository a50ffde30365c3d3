"""Options for continuing a prompt: its length, sampling, repetition and speculation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

import typer

from gpt2cli.cli.options.escapes import escape_notes
from gpt2cli.cli.options.shared import OUTPUT, PROMPT, SPECIAL_HELP, flag, parse_size
from gpt2cli.errors import UsageError
from gpt2cli.generation.settings import SampleSettings, StopAt, TextBias

LENGTH, SAMPLING, PENALTIES, SPECULATION = "Length", "Sampling", "Repetition and bias", "Speculation"

_length = partial(typer.Option, rich_help_panel=LENGTH)
_sampling = partial(typer.Option, rich_help_panel=SAMPLING)
_penalty = partial(typer.Option, rich_help_panel=PENALTIES)


def parse_bias(entry: str) -> TextBias:
    """Read TEXT=X.

    Raises:
        UsageError: X is missing or is not a finite number.
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
    _length("--truncate", show_default="refuse", help="Cut a long prompt."),
]


GenerationConfig = Annotated[
    bool,
    flag(
        "--generation-config",
        rich_help_panel=SAMPLING,
        help="Use the defaults in generation_config.json.",
    ),
]


class CompletionOptions(SampleSettings):
    """How a prompt is continued."""

    special: Annotated[bool, flag("--special", rich_help_panel=PROMPT, help=SPECIAL_HELP)]
    bos: Annotated[
        bool | None,
        flag(
            "--bos/--no-bos",
            show_default="model's",
            rich_help_panel=PROMPT,
            help="Start with BOS.",
        ),
    ]
    max_tokens: Annotated[int, _length("--max-tokens", "-n", metavar="N", help="Stop after N new tokens.")]
    min_tokens: Annotated[int, _length(metavar="N", help="Do not end before N tokens.")]
    stop: Annotated[
        list[str], _length(metavar="TEXT", show_default=False, help="Stop before TEXT; may be repeated.")
    ]
    stop_at: Annotated[
        StopAt | None,
        _length(metavar="UNIT", show_default=False, help="End at a sentence, line or paragraph."),
    ]
    keep_stop: Annotated[
        bool, flag("--keep-stop", rich_help_panel=LENGTH, help="Keep the text that stopped it.")
    ]
    ignore_eos: Annotated[
        bool, flag("--ignore-eos", rich_help_panel=LENGTH, help="Never choose the end-of-text token.")
    ]
    truncate: Truncate
    overflow: Annotated[
        Literal["stop", "slide"],
        _length(help="If the context is full."),
    ]
    temperature: Annotated[
        float,
        _sampling(
            "--temperature",
            "--temp",
            metavar="T",
            help="0 takes the likeliest token.",
        ),
    ]
    top_k: Annotated[int, _sampling(metavar="K", help="Keep the top K; 0 is off.")]
    top_p: Annotated[float, _sampling(metavar="P", help="Keep top mass P; 1 is off.")]
    min_p: Annotated[float, _sampling(metavar="P", help="Drop below P times the top.")]
    seed: Annotated[
        int | None,
        _sampling(
            "--seed",
            "-s",
            metavar="N",
            show_default="random",
            help="Same seed, same text.",
        ),
    ]
    num_samples: Annotated[int, _sampling(metavar="N", help="Continue the prompt N times.")]
    best_of: Annotated[
        int | None,
        _sampling(metavar="N", show_default=False, help="Print only the likeliest of N samples."),
    ]
    batch_size: Annotated[
        int, _sampling(metavar="N", show_default="8; 64 for lines", help="Samples at once.")
    ]
    kv_memory: Annotated[
        int | None,
        _sampling(
            metavar="SIZE",
            parser=parse_size,
            show_default=False,
            help="Memory for keys and values.",
        ),
    ]
    logprobs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            rich_help_panel=OUTPUT,
            help="Add logprobs and the top N to JSON.",
        ),
    ]
    repetition_penalty: Annotated[float, _penalty(metavar="X", help="Divide seen tokens' logits.")]
    presence_penalty: Annotated[float, _penalty(metavar="X", help="Subtract X if generated.")]
    frequency_penalty: Annotated[float, _penalty(metavar="X", help="Subtract X per occurrence.")]
    no_repeat_ngram: Annotated[int, _penalty(metavar="N", help="Ban repeats of N tokens.")]
    bias: Annotated[
        list[TextBias],
        _penalty(
            metavar="TEXT=X",
            parser=parse_bias,
            show_default=False,
            help="Add X to TEXT's logit; may be repeated.",
        ),
    ]
    ban: Annotated[
        list[str],
        _penalty(metavar="TEXT", show_default=False, help="Never complete TEXT; may be repeated."),
    ]
    speculate: Annotated[
        bool,
        flag(
            "--speculate/--no-speculate",
            show_default=False,
            rich_help_panel=SPECULATION,
            help="Draft tokens from repeated text.",
        ),
    ]

    def notes(self) -> Iterator[str]:
        """Yield notes on texts that may not be what was meant."""
        biased = [text for text, _ in self.text_biases]
        return escape_notes({"--stop": self.stop, "--ban": self.ban, "--bias": biased})

    @property
    def sizes(self) -> tuple[int, int, int | None]:
        """How many samples there are, how many at once, and the memory for their keys and values."""
        return self.num_samples, self.batch_size, self.kv_memory

    def report(self) -> dict[str, Any]:
        """Return the settings that determine a text, as --json reports them.

        The prompt, the seed and the model are reported elsewhere.
        """
        values = asdict(self)
        biases = [f"{text}={_exactly(logits)}" for text, logits in self.text_biases]
        return {name: values[name] for name in REPORTED} | {
            "bias": biases or None,
            "ban": self.ban or None,
            "stop": self.stop or None,
        }


def _exactly(number: float) -> str:
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


REPORTED = (
    *("max_tokens", "min_tokens", "stop", "stop_at", "keep_stop", "ignore_eos", "truncate", "overflow"),
    *("special", "bos", "best_of"),
    *("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty"),
    *("frequency_penalty", "no_repeat_ngram", "bias", "ban"),
)
