"""The README.md of a trained model: a card in the format of the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Any

from gpt2cli.checkpoint.architecture import Architecture
from gpt2cli.checkpoint.whole_file import whole_file
from gpt2cli.training.plan.settings import TrainingSettings

MOST_NAMES = 20
# The digest is that of all other lines, so that a card that somebody edited is known.
MARK = re.compile(r"\n<!-- gpt2cli wrote this card: ([0-9a-f]{16}) -->\n\Z")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def card_facts(
    parent: str | None,
    license_name: str | None,
    names: Sequence[str],
    valid: str | None,
    counts: Mapping[str, int],
) -> dict[str, Any]:
    """Return what a card says of a run's beginning, without the folders that files are in.

    `counts` has the number of `documents`, of `bytes`, and of tokens to `train` on and `held_out`.
    """
    return {
        "parent": parent if parent is None or _is_repository(parent) else base_name(parent),
        "license": license_name,
        "names": [base_name(name) for name in names],
        "valid": base_name(valid) if valid else None,
        **counts,
    }


def model_card(
    title: str,
    family: Architecture,
    facts: Mapping[str, Any],
    settings: TrainingSettings,
    result: Mapping[str, float],
) -> str:
    """Return the text of a card; `result` has a `step`, and if known its `loss` and `bits_per_byte`."""
    text = "\n".join(_lines(title, family, facts, settings, result))
    return f"{text}\n\n<!-- gpt2cli wrote this card: {_digest(text)} -->\n"


def write_card(path: Path, text: str) -> None:
    """Write a card where there is none, or one that nobody edited.

    Raises:
        OSError: the disk is full.
    """
    if not path.exists() or is_unedited(path):
        with whole_file(path) as file:
            file.write(text.encode())


def is_unedited(path: Path) -> bool:
    """Return whether a file is a card as `write_card` wrote it."""
    with suppress(OSError, UnicodeDecodeError):
        text = path.read_text("utf-8")
        if mark := MARK.search(text):
            return mark[1] == _digest(text[: mark.start()].removesuffix("\n"))
    return False


def base_name(name: str) -> str:
    """Return the last part of a path of any system."""
    return PureWindowsPath(name).name or name


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_repository(name: str) -> bool:
    return bool(REPOSITORY.fullmatch(name.partition("@")[0])) and not Path(name).exists()


def _lines(
    title: str,
    family: Architecture,
    facts: Mapping[str, Any],
    settings: TrainingSettings,
    result: Mapping[str, float],
) -> Iterator[str]:
    parent = facts["parent"]
    yield "---"
    if facts["license"]:
        yield f"license: {facts['license'].lower()}"
    if parent and "/" in parent:
        yield f"base_model: {parent.partition('@')[0]}"
    yield from ("library_name: transformers", "pipeline_tag: text-generation", "tags:")
    yield from (f"- {family.model_type}", "---", "")
    yield from (f"# {title}", "")
    yield f"A {family.title} " + (f"fine-tuned from `{parent}`." if parent else "trained from scratch.")
    yield from (
        "",
        "## Use",
        "",
        "```sh",
        f'gpt2 generate -m {shlex.quote(title)} "..."',
        "```",
        "",
        "```python",
    )
    yield "from transformers import pipeline"
    yield from ("", f'print(pipeline("text-generation", "{title}")("..."))', "```", "", "## Data", "")
    named = ", ".join(f"`{name}`" for name in facts["names"][:MOST_NAMES])
    more = len(facts["names"]) - MOST_NAMES
    others = f" and {more:,} more" if more > 0 else ""
    documents = f"{facts['documents']:,} document{'s' * (facts['documents'] != 1)}"
    held_out = f"`{facts['valid']}`" if facts["valid"] else "the end"
    yield (
        f"{named}{others}: {documents}, {facts['bytes']:,} bytes, {facts['train']:,} tokens to train on. "
        f"{facts['held_out']:,} tokens of {held_out} were held out."
    )
    yield from ("", "## Training", "")
    yield from _table(settings)
    yield from ("", "## Result", "")
    step = f"{int(result['step']):,}"
    if "loss" not in result:
        yield f"The run was stopped after step {step}, before its weights were evaluated."
        return
    yield (
        f"The weights are those after step {step}. Their loss on the held-out text is "
        f"{result['loss']:.4f} nats per token, or {result['bits_per_byte']:.4f} bits per byte."
    )


def _table(settings: TrainingSettings) -> Iterator[str]:
    yield from ("| setting | value |", "|---|---|")
    rows = {
        "steps": f"{settings.steps:,}",
        "tokens in a step": f"{settings.batch_size * settings.context:,}",
        "context": f"{settings.context:,}",
        "optimizer": settings.optimizer,
        "learning rate": f"{settings.learning_rate:g} after {settings.warmup_steps} steps, then a cosine",
        "weight decay": f"{settings.weight_decay:g}",
        "dropout": f"{settings.dropout:g}",
        "LoRA rank": settings.lora,
        "frozen blocks": settings.freeze,
        "precision": settings.precision,
        "seed": settings.seed,
    }
    optional = {"LoRA rank", "frozen blocks"}
    for name, value in rows.items():
        if value or name not in optional:
            yield f"| {name} | {value} |"
