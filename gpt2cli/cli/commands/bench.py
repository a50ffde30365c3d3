"""`gpt2 bench`: how fast a model runs here, beside other engines, and what a faster type costs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gpt2cli.cli.input.text import read_text
from gpt2cli.cli.options import bench as work
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.streams import json_line, write_stdout
from gpt2cli.errors import UsageError
from gpt2cli.model.loading import LoadedModel, load, one_thread_suits
from gpt2cli.ops.compute import Compute

if TYPE_CHECKING:
    from gpt2cli.benchmark.engines import Engine
    from gpt2cli.benchmark.peers.contest import Contest
    from gpt2cli.benchmark.report import Table

EXCLUSIVE = (
    ("--json", "--markdown"),
    *(("--quality", other) for other in ("--only", "--against", "--gguf")),
)


def bench(
    model: options.Model = None,
    prompt_tokens: work.PromptTokens = 512,
    tokens: work.Tokens = 128,
    batch: work.Batch = 8,
    rounds: work.Rounds = 3,
    only: work.Only = None,
    against: work.Against = None,
    gguf: work.Gguf = None,
    quality: work.Quality = False,
    text: work.Text = None,
    json: work.Json = False,
    markdown: work.Markdown = False,
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
    """Measure how fast a model runs on this machine, or what a type of numbers costs in quality.

    The first token is that of a whole process that starts from cold, and peak memory is that of one that
    decodes. `bandwidth reached` compares what decoding reads with how fast this machine reads its memory.

    `gpt2 bench -m gpt2 --against transformers,ctranslate2,llama.cpp`

    `gpt2 bench --dtype bfloat16 --quality`
    """
    given = {"--only": only, "--against": against, "--gguf": gguf, "--text": text}
    flags = {"--json": json, "--markdown": markdown, "--quality": quality}
    _reject_conflicts(flags | {name: value is not None for name, value in given.items()})
    measures, engines = _listed_measures(only), _listed_engines(against, gguf or [])
    output = _Output(json, markdown, Messages(quiet, verbose))
    from gpt2cli.benchmark.workload import HELD_OUT, fit_workload
    from gpt2cli.ops.threads import available_cores, threads_from_environment

    chosen = threads or threads_from_environment()
    count = chosen or available_cores()
    sample = read_text(text or str(HELD_OUT))
    compute = Compute(device, backend, dtype, quantize, count)
    loaded = load(model, compute, offline=offline, reporter=output.messages, for_decoding=not quality)
    ops = loaded.model.ops
    if quality:
        _measure_quality(loaded, compute, sample, text, output)
        return
    from gpt2cli.benchmark.peers.contest import Contest

    contest = Contest(
        model or loaded.files.name,
        loaded.files,
        loaded.tokenizer,
        fit_workload(loaded.model.config, prompt_tokens, tokens, batch),
        measures,
        ops.device_name,
        ops.dtype_name,
        count,
        dict(os.environ),
        gguf or [],
    )
    if chosen is None and one_thread_suits(replace(compute, threads=None), loaded):
        # As `gpt2 generate` does.
        compute = replace(compute, threads=1)
    _measure_speed(loaded, compute, contest, engines, rounds, output)


@dataclass(frozen=True)
class _Output:
    json: bool
    markdown: bool
    messages: Messages

    def show(self, report: Mapping[str, Any], table: Callable[[Mapping[str, Any]], Table]) -> None:
        """Print a report in the form that was asked for."""
        if self.json:
            write_stdout(json_line(report))
            return
        from gpt2cli.benchmark.report import caption, markdown_table
        from gpt2cli.cli.output.bench_report import print_numbers

        if self.markdown:
            write_stdout(f"{caption(report)}\n\n{markdown_table(table(report))}".encode())
            return
        print_numbers(table(report))
        self.messages.note(caption(report))


def _reject_conflicts(flags: Mapping[str, bool]) -> None:
    for one, other in EXCLUSIVE:
        if flags[one] and flags[other]:
            raise UsageError(f"{one} and {other} exclude each other.")
    if flags["--text"] and not flags["--quality"]:
        raise UsageError("--text needs --quality.")


def _listed_measures(listed: str | None) -> list[str]:
    from gpt2cli.benchmark.measurements import MEASURES

    if listed is None:
        return list(MEASURES)
    names = [name.replace("-", "_") for name in _entries(listed)]
    for name in names:
        if name not in MEASURES:
            raise UsageError(f"{name!r} is not a measure.", f"Known are {', '.join(MEASURES)}.")
    return names


def _listed_engines(listed: str | None, gguf: Sequence[Path]) -> list[str]:
    from gpt2cli.benchmark.peers.contest import LLAMA_CPP, require_known

    names = [] if listed is None else list(dict.fromkeys(_entries(listed)))
    require_known(names)
    if gguf and LLAMA_CPP not in names:
        raise UsageError(f"--gguf needs --against {LLAMA_CPP}.")
    for file in gguf:
        if not file.is_file():
            raise UsageError(f"{file} is not a file.")
    return names


def _entries(listed: str) -> list[str]:
    return [entry.strip() for entry in listed.split(",")]


def _own_command(model: str, compute: Compute) -> Callable[[int], list[str]]:
    from gpt2cli.benchmark.workload import PROMPT

    chosen = [
        word
        for name, value in asdict(compute).items()
        if value is not None
        for word in (f"--{name}", str(value))
    ]
    # The beginning of a prompt is cut off where the context is too short for both.
    fixed = ["--truncate", "left", "--ignore-eos", "--temperature", "0", "--offline", "-q"]
    command = [sys.executable, "-m", "gpt2cli", "generate", PROMPT, "-m", model, *fixed, *chosen]
    return lambda tokens: [*command, "-n", str(tokens)]


def _measure_speed(
    loaded: LoadedModel,
    compute: Compute,
    contest: Contest,
    names: Sequence[str],
    rounds: int,
    output: _Output,
) -> None:
    from gpt2cli.benchmark.bandwidth import bytes_per_token
    from gpt2cli.benchmark.comparison import Comparison
    from gpt2cli.benchmark.engines import own_engine
    from gpt2cli.benchmark.peers.contest import find_peers
    from gpt2cli.benchmark.report import report_speed, speed_table

    messages = output.messages
    own = own_engine(
        contest.model,
        compute,
        contest.dtype,
        contest.workload,
        contest.measures,
        _own_command(contest.model, compute),
    )
    peers: list[Engine] = []
    missing: dict[str, str] = {}
    with TemporaryDirectory(prefix="gpt2-bench-") as folder:
        if names:
            with messages.working("Preparing the other engines"):
                peers, missing = find_peers(names, contest, Path(folder))
            _note_left_out(missing, messages)
        comparison = Comparison([own, *peers], rounds, contest.environment)
        for turn in comparison.turns():
            title = f"Round {turn.round} of {rounds}" if turn.round else "Warming up"
            messages.detail(f"{title}: {turn.engine}, {turn.step}")
            with messages.working(f"{title}: {turn.engine}"):
                comparison.take(turn)
        _note_left_out(comparison.failures, messages)
    sizes = {**contest.workload.sizes(), "rounds": rounds}
    left_out = missing | comparison.failures
    weights = bytes_per_token(loaded.model)
    output.show(report_speed(comparison, _facts(loaded, compute, sizes), weights, left_out), speed_table)


def _note_left_out(reasons: Mapping[str, str], messages: Messages) -> None:
    for name, reason in reasons.items():
        messages.note(f"{name} is left out: {reason}")


def _measure_quality(
    loaded: LoadedModel, compute: Compute, sample: str, source: str | None, output: _Output
) -> None:
    from gpt2cli.benchmark.quality import compare_quality
    from gpt2cli.benchmark.report import quality_table, report_quality
    from gpt2cli.model.model import load_model
    from gpt2cli.scoring.predictions import Scheme

    model, tokenizer = loaded.model, loaded.tokenizer
    # On the same backend, so that only the type of numbers differs.
    same = replace(compute, device=model.ops.device_name, backend=model.ops.name)
    reference = load_model(loaded.files, same.in_float32().open())
    ids = tokenizer.encode(sample)
    context = model.config.n_positions
    # As `gpt2 score` does, so that it tells the same perplexity.
    scheme = Scheme(tokenizer.bos_id, context, max(1, context // 2))
    if len(ids) < (2 if tokenizer.bos_id is None else 1):
        raise UsageError("The text has too few tokens.")
    with output.messages.working("Predicting the held-out text"):
        quality = compare_quality(reference, model, ids, scheme)
    unseen = ids[:1] if tokenizer.bos_id is None else []
    sizes = {"window": scheme.window, "stride": scheme.stride, "bos": scheme.bos_id is not None}
    text_bytes = len(sample.encode()) - len(tokenizer.decode(unseen))
    report = report_quality(quality, _facts(loaded, compute, sizes), source, text_bytes)
    output.show(report, quality_table)


def _facts(loaded: LoadedModel, compute: Compute, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured and how, as --json tells it."""
    ops = loaded.model.ops
    where = {"backend": ops.name, "device": ops.device_name, "dtype": ops.dtype_name}
    return {
        "model": {"name": loaded.files.name, "revision": loaded.files.revision},
        "settings": {**where, "threads": compute.threads, **sizes},
    }
