"""A training request with its device, its output folder and its listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2cli.errors import UsageError
from gpt2cli.hub.reporter import Reporter
from gpt2cli.training.plan.request import Request

if TYPE_CHECKING:
    from gpt2cli.training.run.training_run import Record


@dataclass(frozen=True)
class RunRequest(Request):
    """A request and how to run it.

    Raises:
        UsageError: a value is out of its range, or resume and force are both true.
    """

    _: KW_ONLY
    output: str | Path
    resume: bool = False
    force: bool = False
    device: str = "auto"
    threads: int | None = None
    offline: bool = False
    compile: bool = False
    reporter: Reporter | None = None
    on_record: Callable[[Record], None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume and self.force:
            raise UsageError("`resume` continues a run and `force` replaces it.", "Give one of them.")
