"""`gpt2 score`: how likely a model finds a text."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gpt2cli.cli.input.text import STDIN, require_stdin
from gpt2cli.cli.options import scoring
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.conflicts import conflicts_of, reject_conflicts
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.rows import RowOutput, stdout_is_terminal
from gpt2cli.cli.output.streams import open_output
from gpt2cli.errors import UsageError
from gpt2cli.model.loading import load
from gpt2cli.ops.compute import Compute

if TYPE_CHECKING:
    from gpt2cli.cli.output.rows import Format

FORMATS: tuple[Format, ...] = ("tsv", "csv", "json", "jsonl")
# Files whose names end so are pictures.
PICTURES = (".html", ".svg", ".png")
# What has its own kind of rows, and takes no option that shapes others.
EXCLUSIVE = (
    ("FILE", "--text"),
    *combinations([f"--{name}" for name in FORMATS], 2),
    *conflicts_of("--pairs", ("FILE", "--text", "--by", "--split", "--protocol", "--filter")),
    *conflicts_of("--pairs", ("--csv", "--jsonl")),
    *conflicts_of("--filter", ("--text", "--by", "--split", "--protocol")),
    *conflicts_of("--filter", [f"--{name}" for name in FORMATS]),
    *conflicts_of("--view", ("--pairs", "--filter", "--protocol")),
    *conflicts_of("--view", [f"--{name}" for name in FORMATS]),
)


def score(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", show_default=False, help="Read these; - or none is stdin."),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="Take TEXT instead of files.")
    ] = None,
    by: Annotated[
        Literal["token", "word", "line", "document"] | None,
        typer.Option(
            "--by",
            show_default="token",
            help="Print a row a token, a word, a line or a document, a FILE being one. Rows of documents "
            "end in rows of totals where there are several.",
        ),
    ] = None,
    split: Annotated[
        Literal["line", "endoftext"] | None,
        typer.Option(
            "--split",
            show_default="score each FILE as one",
            help="Score each line by itself, or each text between lines of <|endoftext|>.",
        ),
    ] = None,
    tsv: Annotated[bool, options.flag("--tsv", help="Print TSV; the default.")] = False,
    csv: Annotated[bool, options.flag("--csv", help="Print CSV.")] = False,
    json: Annotated[
        bool, options.flag("--json", help="Print one JSON object: rows, and documents with their totals.")
    ] = False,
    jsonl: Annotated[bool, options.flag("--jsonl", help="Print one JSON object a row.")] = False,
    view: Annotated[
        bool,
        options.flag(
            "--view",
            help="Shade the text itself, by token or by word, on a terminal; in a file if FILE of --output "
            "ends in .html, .svg or .png, which also asks for it.",
        ),
    ] = False,
    pairs: Annotated[
        str | None,
        typer.Option(
            "--pairs",
            metavar="FILE",
            help="Compare conditions: lines of item, condition and text with tabs; [regions] in brackets.",
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="CONDITION",
            help="Print the lines that pass, such as 'ppl<50'; also surprisal, bits_per_byte, tokens, ...",
        ),
    ] = None,
    protocol: Annotated[
        Literal["hf", "lm-eval", "llama.cpp"] | None,
        typer.Option(
            "--protocol",
            rich_help_panel=scoring.SCORING,
            show_default=False,
            help="Tell a document's perplexity as this tool measures it.",
        ),
    ] = None,
    unit: scoring.Unit = "bits",
    bos: scoring.Bos = None,
    window: scoring.Window = None,
    stride: scoring.Stride = None,
    batch_size: scoring.BatchSize = None,
    output: options.Output = None,
    color: options.Color = "auto",
    model: options.Model = None,
    device: options.Device = "auto",
    backend: options.Backend = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = "none",
    threads: options.Threads = None,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Print how surprising each token of a text is; every byte of it counts, the last line end too.

    Rows of words also have `surprisal_corrected`, which counts the white space after a word, not before.

    `gpt2 score --text "The cat sat on the mat." --by word`

    `gpt2 score *.txt --by document --csv -o scores.csv`

    `gpt2 score --filter 'ppl<50' < lines`
    """
    shaded = view or (output is not None and output.suffix.lower() in PICTURES)
    flags = {"tsv": tsv, "csv": csv, "json": json, "jsonl": jsonl}
    given = {
        "FILE": bool(files),
        "--text": text is not None,
        "--by": by is not None,
        "--split": split is not None,
        "--pairs": pairs is not None,
        "--filter": keep is not None,
        "--protocol": protocol is not None,
        "--view": shaded,
        **{f"--{name}": wanted for name, wanted in flags.items()},
    }
    reject_conflicts(given, EXCLUSIVE)
    _check_by(given, by)
    kind: Format = next((name for name in FORMATS if flags[name]), "tsv")
    if not files and text is None and pairs is None:
        require_stdin("Name a FILE, use --text, or pipe text in.")
    messages = Messages(quiet, verbose)
    # Whatever is wrong with what is asked for shows before a model is loaded.
    from gpt2cli.cli.output.score_view import View, show_view
    from gpt2cli.cli.score_filter import filter_lines, parse_condition
    from gpt2cli.cli.score_pairs import read_pairs, score_pairs
    from gpt2cli.cli.score_sources import Sources, score_sources

    condition = None if keep is None else parse_condition(keep)
    sentences = None if pairs is None else read_pairs(pairs)
    sources = None if condition or sentences else Sources(files, text)
    compute = Compute(device, backend, dtype, quantize, threads)
    loaded = load(model, compute, offline=offline, reporter=messages)
    opened = scoring.open_scoring(loaded, unit, bos, window, stride, batch_size, protocol)
    start = time.perf_counter()
    with open_output(output) as write:
        rows = RowOutput(kind, write, aligned=output is None and not tsv and stdout_is_terminal())
        if condition:
            filter_lines(opened, files or [STDIN], condition, write)
        elif sentences:
            score_pairs(opened, sentences, rows)
        elif sources and shaded:
            show_view(View(opened, sources, by == "word", split), output, color, write)
        elif sources:
            score_sources(opened, sources, by or ("document" if protocol else "token"), split, rows)
    scoring.tell_timing(messages, loaded, start)
    if sources and sources.failed:
        raise typer.Exit(1)


def _check_by(given: Mapping[str, bool], by: str | None) -> None:
    if given["--protocol"] and by not in (None, "document"):
        raise UsageError("--protocol tells of documents only.", "Leave out --by.")
    if given["--view"] and by not in (None, "token", "word"):
        raise UsageError("--view shades tokens or words only.", "Use --by token or --by word.")
