"""The report of a benchmark: an object for JSON, and tables made from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from gpt2cli.benchmark.measurements import BANDWIDTH, MEASURES, REACHED
from gpt2cli.ops.machine import processor_name, versions
from gpt2cli.ops.threads import available_cores

if TYPE_CHECKING:
    from gpt2cli.benchmark.comparison import Comparison
    from gpt2cli.benchmark.quality import Quality
    from gpt2cli.model.loading import LoadedModel
    from gpt2cli.ops.compute import Compute

# A header and rows; the first two columns hold words, the others numbers.
Table: TypeAlias = Sequence[Sequence[str]]
Report: TypeAlias = Mapping[str, Any]
WORDS = 2
UNKNOWN = "-"
DIGITS = 3


def run_facts(loaded: LoadedModel, compute: Compute, sizes: Report) -> dict[str, Any]:
    """Return what was measured and with which settings."""
    ops = loaded.model.ops
    where = {"backend": ops.name, "device": ops.device_name, "dtype": ops.dtype_name}
    return {
        "model": {"name": loaded.files.name, "revision": loaded.files.revision},
        "settings": {**where, "threads": compute.threads, **sizes},
    }


def report_speed(
    comparison: Comparison, facts: Report, weights: int, left_out: Mapping[str, str]
) -> dict[str, Any]:
    """Return the report of a comparison; `weights` is the bytes that this package reads per token."""
    engines: list[dict[str, Any]] = [
        {
            "engine": engine.name,
            "version": engine.version,
            "precision": engine.precision,
            "measures": {
                name: measurement.to_dict()
                for name, measurement in comparison.measurements(engine.name).items()
            },
        }
        for engine in comparison.engines.values()
        if engine.name not in comparison.failures
    ]
    own = engines[0]["measures"]
    bandwidth = own.pop(BANDWIDTH.name, None)
    reached = own.pop(REACHED.name, None)
    return {
        **_machine(),
        **facts,
        "engines": engines,
        "bandwidth": bandwidth,
        "bandwidth_gb_s": bandwidth and bandwidth["median"],
        "bytes_per_token": weights,
        "bandwidth_fraction": reached and reached["median"],
        "left_out": dict(left_out),
    }


def speed_table(report: Report) -> Table:
    """Return a table with a row per measure and a column per engine, this package first."""
    engines, settings = report["engines"], report["settings"]
    rows = [
        ("MEASURE", "UNIT", *(engine["engine"] for engine in engines)),
        ("computed in", "", *(engine["precision"] for engine in engines)),
    ]
    for name, measure in MEASURES.items():
        taken = [engine["measures"].get(name) for engine in engines]
        if any(taken):
            title = measure.title.format(**settings)
            rows.append((title, measure.unit, *(_number(entry and entry["median"]) for entry in taken)))
    if report["bandwidth"]:
        others = [UNKNOWN] * (len(engines) - 1)
        reached = 100 * report["bandwidth_fraction"]
        rows += [
            ("weights read", "MB/token", _number(report["bytes_per_token"] / 1e6), *others),
            (BANDWIDTH.title, BANDWIDTH.unit, _number(report["bandwidth_gb_s"]), *others),
            (REACHED.title, "%", _number(reached), *others),
        ]
    return rows


def report_quality(quality: Quality, facts: Report, source: str | None, text_bytes: int) -> dict[str, Any]:
    """Return the report of a number type's quality; `text_bytes` are the bytes of the predicted tokens."""
    bits = 1.0 / (math.log(2) * text_bytes)
    return {
        **_machine(),
        **facts,
        "quality": {
            "text": source,
            "tokens": quality.tokens,
            "bytes": text_bytes,
            "perplexity_float32": quality.reference_perplexity,
            "perplexity": quality.perplexity,
            "perplexity_ratio": quality.perplexity_ratio,
            "bits_per_byte_float32": quality.reference_nats * bits,
            "bits_per_byte": quality.nats * bits,
            "top1_agreement": quality.top1_agreement,
            "mean_kl_nats": quality.mean_kl,
        },
    }


def quality_table(report: Report) -> Table:
    """Return a table with a row per measure, and a column each for float32 and the compared type."""
    quality = report["quality"]
    rows = [("MEASURE", "UNIT", "float32", report["settings"]["dtype"])]
    for name, unit, key in (("perplexity", "", "perplexity"), ("bits per byte", "bits", "bits_per_byte")):
        rows.append((name, unit, f"{quality[f'{key}_float32']:.4f}", f"{quality[key]:.4f}"))
    return [
        *rows,
        ("perplexity ratio", "", "1", f"{quality['perplexity_ratio']:.5f}"),
        ("top-1 agreement", "%", "100", f"{100 * quality['top1_agreement']:.2f}"),
        ("mean KL divergence", "nats", "0", f"{quality['mean_kl_nats']:.3g}"),
    ]


def caption(report: Report) -> str:
    """Return one line about what was measured, how and where."""
    settings, machine = report["settings"], report["machine"]
    how = f"{settings['backend']}, {settings['device']}, {_count(settings['threads'], 'thread')}"
    rounds = f"; medians of {_count(settings['rounds'], 'round')}" if "rounds" in settings else ""
    if "processes" in settings and settings["processes"] < settings["prompts"]:
        rounds += f"; {settings['processes']:,} of the prompts in processes"
    return (
        f"{report['model']['name']} with gpt2cli {report['gpt2cli']} ({how}), "
        f"on {_count(machine['cores'], 'core')} of {machine['processor']}{rounds}"
    )


def markdown_table(table: Table) -> str:
    """Return a table in GitHub's Markdown, numbers aligned right."""
    header, *rows = table
    rule = ["---"] * WORDS + ["---:"] * (len(header) - WORDS)
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, rule, *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _number(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    whole = math.floor(math.log10(value)) + 1 if value > 0 else 1
    return f"{value:,.{max(0, DIGITS - whole)}f}"


def _machine() -> dict[str, Any]:
    installed = versions(("numpy", "torch"))
    own = installed.pop("gpt2cli")
    return {
        "gpt2cli": own,
        "machine": {"processor": processor_name(), "cores": available_cores(), **installed},
    }
