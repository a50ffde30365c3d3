"""The options that say how texts are scored, and the scheme that they make."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gpt2cli.cli.options.shared import flag
from gpt2cli.cli.output.messages import Messages
from gpt2cli.errors import UsageError
from gpt2cli.model.loading import LoadedModel

if TYPE_CHECKING:
    from gpt2cli.scoring.predictions import Scheme
    from gpt2cli.scoring.protocols import ProtocolName
    from gpt2cli.scoring.rows import Unit as ScoreUnit
    from gpt2cli.scoring.text_scorer import TextScorer

SCORING = "Scoring"
BATCH_ON_CPU, BATCH_ELSEWHERE = 1, 8

Unit = Annotated[
    Literal["bits", "nats"],
    typer.Option("--unit", rich_help_panel=SCORING, help="Measure surprisal and entropy in this unit."),
]
Bos = Annotated[
    bool | None,
    flag(
        "--bos/--no-bos",
        rich_help_panel=SCORING,
        show_default="bos",
        help="Put the beginning-of-text token before each text; without it the first token is not scored.",
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        "--window",
        min=1,
        metavar="N",
        rich_help_panel=SCORING,
        show_default="the model's context",
        help="Read at most N tokens at once.",
    ),
]
Stride = Annotated[
    int | None,
    typer.Option(
        "--stride",
        min=1,
        metavar="N",
        rich_help_panel=SCORING,
        show_default="half of the window",
        help="Move the window by N tokens in a longer text; the others are context.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        metavar="N",
        rich_help_panel=SCORING,
        show_default=f"{BATCH_ON_CPU} on a CPU, else {BATCH_ELSEWHERE}",
        help="Fill N contexts at once, with windows or with short texts.",
    ),
]


@dataclass(frozen=True)
class Scoring:
    """Hold a scorer, and what its numbers must share to be comparable."""

    scorer: TextScorer
    unit: ScoreUnit
    metadata: dict[str, Any]


def open_scoring(
    loaded: LoadedModel,
    unit: ScoreUnit,
    bos: bool | None,
    window: int | None,
    stride: int | None,
    batch_size: int | None,
    protocol: ProtocolName | None = None,
) -> Scoring:
    """Return the scorer that options ask for; None is a default.

    Raises:
        UsageError: an option does not fit the protocol or the model.
    """
    from gpt2cli.scoring.text_scorer import TextScorer

    model = loaded.model
    scheme = (
        _protocol_scheme(loaded, protocol, bos, window, stride)
        if protocol
        else _scheme(loaded, bos, window, stride)
    )
    # A CPU gains nothing from more than one full context at once, and a reader waits longer.
    batch_size = batch_size or (BATCH_ON_CPU if model.ops.device_name == "cpu" else BATCH_ELSEWHERE)
    metadata = {
        "model": loaded.files.name,
        "revision": loaded.files.revision,
        "unit": unit,
        "bos": scheme.bos_id is not None,
        "window": scheme.window,
        "stride": scheme.stride,
        **({"protocol": protocol} if protocol else {}),
    }
    scorer = TextScorer(model, loaded.tokenizer, scheme, batch_size * model.config.n_positions)
    return Scoring(scorer, unit, metadata)


def _scheme(loaded: LoadedModel, bos: bool | None, window: int | None, stride: int | None) -> Scheme:
    from gpt2cli.scoring.predictions import Scheme

    size = window or loaded.model.config.n_positions
    _require_fit(size, loaded)
    return Scheme(None if bos is False else bos_id(loaded), size, stride or max(1, size // 2))


def _protocol_scheme(
    loaded: LoadedModel, name: ProtocolName, bos: bool | None, window: int | None, stride: int | None
) -> Scheme:
    from gpt2cli.scoring.predictions import Scheme
    from gpt2cli.scoring.protocols import PROTOCOLS

    rules = PROTOCOLS[name]
    if bos is not None and bos != rules.bos:
        raise UsageError(f"--protocol {name} scores {'with' if rules.bos else 'without'} BOS.")
    if stride is not None and rules.stride is None:
        raise UsageError(f"--protocol {name} has no stride.")
    context = loaded.model.config.n_positions
    size = window or min(rules.window or context, context)
    _require_fit(size, loaded)
    step = stride or min(rules.stride or size, size)
    return Scheme(bos_id(loaded) if rules.bos else None, size, step, rules.windows)


def _require_fit(window: int, loaded: LoadedModel) -> None:
    context = loaded.model.config.n_positions
    if window > context:
        raise UsageError(f"A window of {window:,} exceeds the model's context of {context:,}.")


def tell_timing(messages: Messages, loaded: LoadedModel, start: float) -> None:
    """Tell where a model computed and how long it took, from `start` of time.perf_counter, if verbose."""
    ops = loaded.model.ops
    messages.detail(
        f"{loaded.files.name} on {ops.name} ({ops.device_name}, {ops.dtype_name}): "
        f"loaded in {loaded.seconds:.3f} s, scored in {time.perf_counter() - start:.3f} s"
    )


def bos_id(loaded: LoadedModel) -> int:
    bos_id = loaded.tokenizer.bos_id
    if bos_id is None:
        raise UsageError("This model has no beginning-of-text token.", "Use --no-bos.")
    return bos_id
