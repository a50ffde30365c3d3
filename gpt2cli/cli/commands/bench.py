"""`gpt2 bench`: the speed of a model on this machine, and the quality that a number type costs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from gpt2cli.benchmark.settings import with_threads
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.bench import QualityOptions, ReportOptions, SpeedOptions
from gpt2cli.cli.options.conflicts import conflicts_of, reject_conflicts
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.output.messages import Messages, printable
from gpt2cli.cli.output.streams import json_line, open_output, write_stdout
from gpt2cli.cli.spelling import spell
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.benchmark.report import Table

EXCLUSIVE = (("--json", "--markdown"), *conflicts_of("--quality", ("--only", "--against", "--gguf")))


@takes_groups
def bench(
    model: options.ModelOptions,
    form: ReportOptions,
    speed: SpeedOptions,
    quality: QualityOptions,
    compute: options.DecodingOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Measure the speed of a model on this machine.

    With --quality, measure what a number type costs in quality instead. The first token is timed from the
    start of a process. `bandwidth reached` is the rate at which decoding reads weights, as a share of the
    memory bandwidth. The programs of llama.cpp are looked up in the folder LLAMA_CPP_BIN, else on PATH.

    `gpt2 bench -m gpt2 --against transformers,ctranslate2,llama.cpp`

    `gpt2 bench --dtype bfloat16 --quality`
    """
    _reject_conflicts(form, speed, quality)
    messages = verbosity.messages()
    if quality.quality:
        text, counted = quality.read(), with_threads(compute)
        loaded = model.load(counted, messages)
        from gpt2cli.benchmark.quality import measure_quality
        from gpt2cli.benchmark.report import quality_table

        report = measure_quality(loaded, counted, text, quality.text, messages)
        _show(report, quality_table, form, messages)
        return
    speed.check()
    loaded = model.load(with_threads(compute), messages, for_decoding=True)
    from gpt2cli.benchmark.report import speed_table
    from gpt2cli.benchmark.speed import measure_speed
    from gpt2cli.cli.command_lines import own_programs

    name = model.model or loaded.files.name
    # All processes load the model themselves.
    os.environ.pop(options.SERVER, None)
    report = measure_speed(name, loaded, compute, speed, partial(own_programs, name), messages)
    report["left_out"] = {peer: spell(reason) for peer, reason in report["left_out"].items()}
    _show(report, speed_table, form, messages)


def _reject_conflicts(form: ReportOptions, speed: SpeedOptions, quality: QualityOptions) -> None:
    given = {
        "--json": form.json,
        "--markdown": form.markdown,
        "--quality": quality.quality,
        "--only": speed.only is not None,
        "--against": speed.against is not None,
        "--gguf": bool(speed.gguf),
    }
    reject_conflicts(given, EXCLUSIVE)
    if quality.text is not None and not quality.quality:
        raise UsageError("--text needs --quality.")


def _show(
    report: Mapping[str, Any],
    table: Callable[[Mapping[str, Any]], Table],
    form: ReportOptions,
    messages: Messages,
) -> None:
    """Print a report in the chosen form."""
    if form.json:
        write_stdout(json_line(report))
        return
    from gpt2cli.benchmark.report import WORDS, caption, markdown_table
    from gpt2cli.cli.output.table import print_table

    if form.markdown:
        with open_output(None) as write:
            write(f"{printable(caption(report))}\n\n{markdown_table(table(report))}".encode())
        return
    header, *rows = table(report)
    print_table(header, rows, WORDS)
    messages.note(caption(report))
