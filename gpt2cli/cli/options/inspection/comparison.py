"""The options of `gpt2 diff`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gpt2cli.cli.options.inspection.selection import SELECTION, Bos, Special
from gpt2cli.cli.options.scoring import SCORING, Stride, Unit
from gpt2cli.cli.options.shared import MODEL, Offline, model_names
from gpt2cli.errors import UsageError
from gpt2cli.inspection.settings import DiffSettings
from gpt2cli.ops.compute import Compute

if TYPE_CHECKING:
    from gpt2cli.cli.output.messages import Messages
    from gpt2cli.local_model import LocalModel


class DiffOptions(DiffSettings):
    """How two models are compared."""

    by: Annotated[
        Literal["token", "word"] | None,
        typer.Option("--by", rich_help_panel=SELECTION, show_default="token", help="What gets a row."),
    ]
    unit: Unit
    bos: Bos
    special: Special
    window: Annotated[
        int | None,
        typer.Option(
            "--window",
            rich_help_panel=SCORING,
            metavar="N",
            show_default="smaller context",
            help="Tokens read at once.",
        ),
    ]
    stride: Stride


Top = Annotated[
    int | None,
    typer.Option(
        "--top",
        "-k",
        min=1,
        metavar="K",
        rich_help_panel=SELECTION,
        show_default="all",
        help="Rows of the K largest differences.",
    ),
]


@dataclass(frozen=True, eq=False, repr=False)
class TwoModelOptions:
    """Which two models to load, and whether they may be downloaded."""

    models: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            autocompletion=model_names,
            show_default=False,
            rich_help_panel=MODEL,
            help="Twice: the first model and the second.",
        ),
    ]
    offline: Offline = False

    def load(self, compute: Compute, messages: Messages) -> tuple[LocalModel, LocalModel]:
        """Load both models as `gpt2cli.load` does.

        Raises:
            UsageError, HubError, CheckpointError, Error: as `gpt2cli.load` does.
        """
        from gpt2cli.local_model import load_local

        first, second = (
            load_local(name, compute, offline=self.offline, reporter=messages, for_decoding=False)
            for name in self.models
        )
        return first, second

    def require_two(self) -> None:
        """Check that there are two models.

        Raises:
            UsageError: there are fewer or more.
        """
        if len(self.models) != 2:
            raise UsageError(
                f"diff compares two models, and --model was given {len(self.models)} times.",
                "Write -m FIRST -m SECOND.",
            )
