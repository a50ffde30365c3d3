"""Options of `explore`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from gpt2cli.cli.options.sampling import SAMPLING

_sampling = partial(typer.Option, rich_help_panel=SAMPLING)


@dataclass(frozen=True, eq=False, repr=False)
class DrawOptions:
    """How tokens are drawn at first."""

    temperature: Annotated[
        float, _sampling("--temperature", "--temp", min=0.0, max=5.0, metavar="T", help="0 is the likeliest.")
    ] = 0.8
    top_p: Annotated[float, _sampling(min=0.05, max=1.0, metavar="P", help="Keep top mass P; 1 is off.")] = (
        0.95
    )
    seed: Annotated[int, _sampling("--seed", "-s", min=0, metavar="N", help="Same seed, same draws.")] = 0
