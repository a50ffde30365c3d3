"""Options and groups of options that several commands share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gpt2cli.cli.output.messages import Messages
from gpt2cli.hub.known_models import BUNDLED_MODEL, KNOWN_MODELS
from gpt2cli.ops.compute import Compute

if TYPE_CHECKING:
    from gpt2cli.cli.output.progress.stopwatch import Stopwatch
    from gpt2cli.language_model import LanguageModel

COMPUTE, MESSAGES = "Computing", "Messages"


def model_names(incomplete: str) -> list[str]:
    """Return the model names that a shell may complete to: the known ones, then those in the cache."""
    from gpt2cli.hub.model_files import cached_models

    names = [BUNDLED_MODEL, *(model.name for model in KNOWN_MODELS)]
    names += [model.name for model in cached_models() if model.name not in names]
    return [name for name in names if name.startswith(incomplete)]


def flag(*names: str, **settings: Any) -> Any:
    """Return an option without a value; the help then shows no placeholder for one."""
    return typer.Option(*names, metavar="", **settings)


def _enable_debugging(wanted: bool) -> bool:
    if wanted:
        os.environ["GPT2_DEBUG"] = "1"
    return wanted


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        envvar="GPT2_MODEL",
        autocompletion=model_names,
        show_default=False,
        help="A known name or alias (gpt2, 355M, distilgpt2, stories), OWNER/NAME[@REVISION] on the Hub, "
        "a folder or a .safetensors file. Default: gpt2 if it is here already, else stories.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N|mps",
        rich_help_panel=COMPUTE,
        help="Compute there; auto takes CUDA where it is.",
    ),
]
Backend = Annotated[
    Literal["auto", "compiled", "numpy", "torch"],
    typer.Option(
        rich_help_panel=COMPUTE,
        help="auto takes the compiled kernels on a CPU, numpy where they were not built, torch elsewhere.",
    ),
]
Dtype = Annotated[
    Literal["auto", "float32", "float16", "bfloat16"],
    typer.Option(
        rich_help_panel=COMPUTE,
        help="Compute in this type, or on a CPU keep the weights in it; auto is float32.",
    ),
]
Quantize = Annotated[
    Literal["none", "int8"],
    typer.Option(
        rich_help_panel=COMPUTE,
        help="On a CPU, keep the weights in 8 bits: faster, and close to float32.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        show_default="one a core",
        rich_help_panel=COMPUTE,
        help="Compute with N threads on a CPU.",
    ),
]
Color = Annotated[
    Literal["auto", "always", "never"],
    typer.Option("--color", help="Colour the output; auto does so on a terminal, unless NO_COLOR is set."),
]
Offline = Annotated[bool, flag("--offline", help="Never open a connection; also set by HF_HUB_OFFLINE=1.")]
Quiet = Annotated[
    bool, flag("--quiet", "-q", rich_help_panel=MESSAGES, help="Print nothing on stderr but errors.")
]
Verbose = Annotated[bool, flag("--verbose", "-v", rich_help_panel=MESSAGES, help="Print details on stderr.")]
Json = Annotated[bool, flag("--json", help="Print JSON, one object a line.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to FILE, complete or not at all."),
]
Special = Annotated[bool, flag("--special", help="Read <|endoftext|> in the text as the special token.")]
Debug = Annotated[
    bool,
    flag(
        "--debug",
        callback=_enable_debugging,
        rich_help_panel=MESSAGES,
        help="Show tracebacks of errors; also set by GPT2_DEBUG=1.",
    ),
]


@dataclass(frozen=True, eq=False, repr=False)
class ModelOptions:
    """Which model to load, and whether it may be downloaded."""

    model: Model = None
    offline: Offline = False

    def load(self, compute: Compute, messages: Messages, *, for_decoding: bool = False) -> LanguageModel:
        """Load the model as `gpt2cli.load` does.

        Raises:
            UsageError, HubError, CheckpointError, Error: as `gpt2cli.load` does.
        """
        from gpt2cli.language_model import load_with

        return load_with(
            self.model, compute, offline=self.offline, reporter=messages, for_decoding=for_decoding
        )


class ComputeOptions(Compute):
    """Where and how to compute."""

    device: Device
    backend: Backend
    dtype: Dtype
    quantize: Quantize
    threads: Threads


@dataclass(frozen=True, eq=False, repr=False)
class OutputOptions:
    """Where the output goes, and whether it has colours."""

    output: Output = None
    color: Color = "auto"


@dataclass(frozen=True, eq=False, repr=False)
class QuietOptions:
    """How much to print on stderr, without details."""

    quiet: Quiet = False
    debug: Debug = False

    def messages(self) -> Messages:
        """Return what prints on stderr as the options ask."""
        return Messages(self.quiet)


@dataclass(frozen=True, eq=False, repr=False)
class MessageOptions:
    """How much to print on stderr."""

    quiet: Quiet = False
    verbose: Verbose = False
    debug: Debug = False

    def messages(self, color: str = "auto", watch: Stopwatch | None = None) -> Messages:
        """Return what prints on stderr as the options ask, and counts phases with the watch."""
        return Messages(self.quiet, self.verbose, color, watch)
