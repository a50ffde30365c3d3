"""Options and groups of options that several commands share."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from gpt2cli.cli.output.messages import Messages
from gpt2cli.errors import UsageError
from gpt2cli.hub.known_models import BUNDLED_MODEL, KNOWN_MODELS
from gpt2cli.ops.compute import Compute

if TYPE_CHECKING:
    from gpt2cli.cli.output.progress.stopwatch import Stopwatch
    from gpt2cli.hub.model_files import ModelFiles
    from gpt2cli.local_model import LocalModel
    from gpt2cli.serving.remote.model import RemoteModel

    OpenModel: TypeAlias = LocalModel | RemoteModel

PROMPT, MODEL, OUTPUT = "Prompt", "Model", "Output"
# What the commands that are clients of a server read, and what opens it.
SERVER, API_KEY = "GPT2_SERVER", "GPT2_API_KEY"
COMPUTE, MESSAGES = "Computing", "Messages"
HUB_NAME = r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?(@[A-Za-z0-9._/-]+)?"
SPECIAL_HELP = "Parse special tokens in text."
FILES_HELP = "Files, folders or 'patterns*'; - or none is stdin."
NEWLINES_HELP = "Keep CR LF, or use LF."


def model_names(incomplete: str) -> list[str]:
    """Return the model names that a shell can complete: known models, then models in the cache."""
    from gpt2cli.hub.listing import cached_models

    names = [BUNDLED_MODEL, *(model.name for model in KNOWN_MODELS)]
    names += [model.name for model in cached_models() if model.name not in names]
    # A shell evaluates what it is offered.
    return [name for name in names if name.startswith(incomplete) and re.fullmatch(HUB_NAME, name)]


def flag(*names: str, **settings: Any) -> Any:
    """Return an option without a value or a placeholder for one in the help."""
    return typer.Option(*names, metavar="", **settings)


def _enable_debugging(wanted: bool) -> bool:
    if wanted:
        os.environ["GPT2_DEBUG"] = "1"
    return wanted


def model_option(**settings: Any) -> Any:
    """Return the option that names a model, with a help of the command's choice."""
    return typer.Option("--model", "-m", envvar="GPT2_MODEL", autocompletion=model_names, **settings)


Model = Annotated[
    str | None,
    model_option(
        metavar="MODEL",
        show_envvar=False,
        show_default="gpt2 if here, else stories",
        rich_help_panel=MODEL,
        help="A name (gpt2, 355M), OWNER/NAME[@REVISION] on the Hub, a folder, a .safetensors or .gguf file; "
        "also set by GPT2_MODEL.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        rich_help_panel=COMPUTE,
        help="cpu, cuda, cuda:N or mps.",
    ),
]
Backend = Annotated[
    Literal["auto", "compiled", "numpy", "torch"],
    typer.Option(metavar="NAME", rich_help_panel=COMPUTE, help="compiled, numpy or torch."),
]
Dtype = Annotated[
    Literal["auto", "float32", "float16", "bfloat16"],
    typer.Option(metavar="TYPE", rich_help_panel=COMPUTE, help="float32, float16 or bfloat16."),
]
Quantize = Annotated[
    Literal["none", "int8"],
    typer.Option(metavar="TYPE", rich_help_panel=COMPUTE, help="int8 is faster, CPU only."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        show_default="one per core",
        rich_help_panel=COMPUTE,
        help="Threads on a CPU.",
    ),
]
Compile = Annotated[
    bool, flag("--compile", rich_help_panel=COMPUTE, help="Slower start, faster tokens; PyTorch only.")
]
Color = Annotated[
    Literal["auto", "always", "never"],
    typer.Option("--color", rich_help_panel=OUTPUT, help="Color the output."),
]
Offline = Annotated[
    bool,
    flag("--offline", rich_help_panel=MODEL, help="Never connect; also set by HF_HUB_OFFLINE=1."),
]
Quiet = Annotated[bool, flag("--quiet", "-q", rich_help_panel=MESSAGES, help="Print only errors on stderr.")]
Verbose = Annotated[bool, flag("--verbose", "-v", rich_help_panel=MESSAGES, help="Print details on stderr.")]
Json = Annotated[bool, flag("--json", rich_help_panel=OUTPUT, help="Print JSON.")]
JsonLines = Annotated[bool, flag("--json", rich_help_panel=OUTPUT, help="Print JSON, one object per line.")]
Trace = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        show_default=False,
        rich_help_panel=OUTPUT,
        help="Write each draw to FILE.html or .jsonl.",
    ),
]


def file_or_stdout(output: Path | None) -> Path | None:
    """Return where the output goes, None for stdout, whose name is `-` as that of stdin is."""
    return None if output == Path("-") else output


def output_option(text: str) -> Any:
    """Return the option for where the output goes, with a help text."""
    names = "--output", "-o"
    return typer.Option(*names, metavar="FILE", rich_help_panel=OUTPUT, callback=file_or_stdout, help=text)


Output = Annotated[Path | None, output_option("Write FILE in the format it names.")]
Raw = Annotated[bool, flag("--raw", rich_help_panel=OUTPUT, help="Print on a terminal as into a pipe.")]
Record = Annotated[
    Path | None,
    typer.Option(
        "--record",
        metavar="FILE",
        show_default=False,
        rich_help_panel=OUTPUT,
        help="Write JSON to FILE too.",
    ),
]
Special = Annotated[bool, flag("--special", help=SPECIAL_HELP)]
Debug = Annotated[
    bool,
    flag(
        "--debug",
        callback=_enable_debugging,
        rich_help_panel=MESSAGES,
        help="Show tracebacks; also set by GPT2_DEBUG=1.",
    ),
]


@dataclass(frozen=True, eq=False, repr=False)
class ModelOptions:
    """Which model to load, and whether it may be downloaded."""

    model: Model = None
    offline: Offline = False

    def load(self, compute: Compute, messages: Messages, *, for_decoding: bool = False) -> LocalModel:
        """Load the model as `gpt2cli.load` does.

        Raises:
            UsageError, HubError, CheckpointError, Error: as `gpt2cli.load` does.
        """
        from gpt2cli.local_model import load_local

        return load_local(
            self.model, compute, offline=self.offline, reporter=messages, for_decoding=for_decoding
        )

    def fetch(self, messages: Messages) -> ModelFiles:
        """Return the model's files, downloading them if they are missing.

        Raises:
            HubError: the model does not exist or cannot be downloaded.
        """
        from gpt2cli.model.loading import fetch_files

        return fetch_files(self.model, offline=self.offline, reporter=messages)

    def open(self, compute: Compute, messages: Messages, *, for_decoding: bool = False) -> OpenModel:
        """Return the model of the server that GPT2_SERVER names or, without one, load it.

        Raises:
            UsageError: an option is the server's to choose.
            Error: the server cannot be asked, or as `load`.
        """
        url = os.environ.get(SERVER)
        if not url:
            return self.load(compute, messages, for_decoding=for_decoding)
        from gpt2cli.serving.remote.model import RemoteModel

        return RemoteModel(url, os.environ.get(API_KEY), self.model, compute)


class ComputeOptions(Compute):
    """Where and how to compute."""

    device: Device
    backend: Backend
    dtype: Dtype
    quantize: Quantize
    threads: Threads


class DecodingOptions(ComputeOptions):
    """Where and how to compute tokens."""

    device: Device
    backend: Backend
    dtype: Dtype
    quantize: Quantize
    threads: Threads
    compile: Compile


@dataclass(frozen=True, eq=False, repr=False)
class OutputOptions:
    """Where the output goes, and what a terminal gets: colors, and a layout without control characters."""

    output: Output = None
    color: Color = "auto"
    raw: Raw = False


@dataclass(frozen=True, eq=False, repr=False)
class RecordOptions:
    """What is written of samples besides their texts."""

    record: Record = None
    trace: Trace = None


@dataclass(frozen=True, eq=False, repr=False)
class MessageOptions:
    """How much to print on stderr."""

    quiet: Quiet = False
    verbose: Verbose = False
    debug: Debug = False

    def messages(self, color: str = "auto", watch: Stopwatch | None = None) -> Messages:
        """Return the messages on stderr that the options ask for; the watch times the phases."""
        return Messages(self.quiet, self.verbose, color, watch)


_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(entry: str) -> int:
    """Read a number of bytes such as 500MB, 1.5G or 2GiB; without an i, a thousand is 1,000.

    Raises:
        UsageError: it is no size above zero.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*([kmgt]?)(i?)b?", entry.strip().lower())
    size = float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2]] if found else 0
    if size < 1:
        raise UsageError(f"{entry!r} is not a size of memory.", "Write it like 500MB or 2GiB.")
    return int(size)


class QuietOptions(MessageOptions):
    """How much to print on stderr, without details."""

    quiet: Quiet
    debug: Debug
