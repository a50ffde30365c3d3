"""`gpt2 rank`: lines, the likeliest first."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import typer

from gpt2cli.cli.input.lines import Line, line_blocks
from gpt2cli.cli.input.text import STDIN, require_stdin
from gpt2cli.cli.options import scoring
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.rows import RowOutput
from gpt2cli.cli.output.streams import open_output
from gpt2cli.model.loading import load
from gpt2cli.ops.compute import Compute

KEYS = {"mean": "mean_surprisal", "total": "surprisal"}


def rank(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE", show_default=False, help="Read the lines of these; - or none is stdin."
        ),
    ] = None,
    by: Annotated[
        Literal["mean", "total"],
        typer.Option("--by", help="Compare the surprisal of a token in the mean, or of the line in total."),
    ] = "mean",
    best: Annotated[
        int | None,
        typer.Option("--best", "-n", min=1, metavar="N", show_default="all", help="Print N lines."),
    ] = None,
    json: options.Json = False,
    unit: scoring.Unit = "bits",
    bos: scoring.Bos = None,
    window: scoring.Window = None,
    stride: scoring.Stride = None,
    batch_size: scoring.BatchSize = None,
    output: options.Output = None,
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
    """Print lines in the order of how likely they are, the best first.

    Each line is scored by itself; --json tells the scores. Lines that cannot be scored come last.

    `gpt2 rank hypotheses -n 1`

    `gpt2 generate "Once" --num-samples 9 --json | jq -r .text | gpt2 rank`
    """
    if not files:
        require_stdin("Name a FILE, or pipe lines in.")
    lines = [line for block in line_blocks(files or [STDIN]) for line in block]
    compute = Compute(device, backend, dtype, quantize, threads)
    messages = Messages(quiet, verbose)
    loaded = load(model, compute, offline=offline, reporter=messages)
    start = time.perf_counter()
    opened = scoring.open_scoring(loaded, unit, bos, window, stride, batch_size)
    from gpt2cli.scoring.scored_text import Text

    scored = list(opened.scorer.summaries(((line, Text(line.text)) for line in lines), unit))
    scoring.tell_timing(messages, loaded, start)
    # Nothing at all is surprising in a line without tokens, but neither is it likely.
    scored.sort(key=lambda pair: getattr(pair[1], KEYS[by]) if pair[1].tokens else float("inf"))
    with open_output(output) as write:
        if json:
            named = bool(files)
            records = (
                {"place": place, **_names(line, named), **vars(summary)}
                for place, (line, summary) in enumerate(scored[:best], 1)
            )
            RowOutput("jsonl", write).write_rows(opened.metadata, [], records)
            return
        for line, _ in scored[:best]:
            # The last line of a file may lack an end, and may not be the last here.
            write(line.data if line.data.endswith(b"\n") else line.data + b"\n")


def _names(line: Line, named: bool) -> dict[str, Any]:
    return {**({"file": line.source} if named else {}), "line": line.number, "text": line.text}
