"""What is found inside a model: rows, or a picture on a terminal or in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gpt2cli.cli.options.shared import OutputOptions
from gpt2cli.cli.output.file_formats import FileFormat, file_format, option_label, require_format
from gpt2cli.cli.output.record import Record
from gpt2cli.cli.output.rows import FORMATS, RowOutput, row_format
from gpt2cli.cli.output.streams import (
    open_output,
    stdout_is_terminal,
    terminal_columns,
    wants_color,
    write_stdout,
)
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.inspection.pictures.grid import Picture

PICTURES: tuple[FileFormat, ...] = ("html", "svg", "png")


class Drawing(Protocol):
    """A picture that can be drawn in any number of columns."""

    def __call__(self, columns: int, *, whole_cells: bool) -> Picture:
        """Draw the picture; in a terminal, everything fills whole cells."""


@dataclass(frozen=True)
class InspectionOutput:
    """Where the output goes, as a picture or as rows.

    Raises:
        UsageError: the options contradict each other, or the file's name asks for another format.
    """

    output: OutputOptions
    view: bool
    json: bool
    named: FileFormat | None

    @classmethod
    def open(cls, output: OutputOptions, view: bool, json: bool) -> InspectionOutput:
        """Return the output that the options ask for.

        Raises:
            UsageError: they contradict each other, or the file's name asks for another format.
        """
        named = file_format(output.output, ("text", *FORMATS, *PICTURES))
        if json and view:
            raise UsageError("--json and --view exclude each other.")
        if json:
            require_format("--json", ("text", "json"), named, output.output)
        if view and named in FORMATS:
            raise UsageError(f"--view and {option_label(output.output)} exclude each other.")
        return cls(output, view, json, named)

    @property
    def is_picture(self) -> bool:
        """Whether a picture is drawn, in text or in a file."""
        is_plain = self.json or self.output.raw
        on_terminal = self.output.output is None and not is_plain and stdout_is_terminal()
        return self.view or self.named in PICTURES or on_terminal

    def write(
        self,
        metadata: Record,
        columns: Sequence[str],
        records: Callable[[], Iterable[Record]],
        draw: Drawing,
        after: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """Write rows or the picture; lines follow a picture in text."""
        if self.is_picture and self.named not in PICTURES:
            self._write_text(draw, after)
            return
        with open_output(self.output.output, raw=self.output.raw) as write:
            if self.named in PICTURES:
                from gpt2cli.inspection.pictures.grid import COLUMNS
                from gpt2cli.inspection.pictures.rendering import RENDERERS

                write(RENDERERS[self.named](draw(COLUMNS, whole_cells=False)))
            else:
                table = RowOutput("json" if self.json else row_format(self.named), write)
                table.write_rows(metadata, columns, records())

    def _write_text(self, draw: Drawing, after: Callable[[], Iterable[str]]) -> None:
        from gpt2cli.cli.output.inspection.terminal_grid import grid_lines

        path = self.output.output
        shaded = path is None and wants_color(self.output.color)
        picture = draw(terminal_columns(), whole_cells=True)
        # Each line ends plain, and has its own escapes for what a terminal would obey.
        with nullcontext(write_stdout) if path is None else open_output(path) as write:
            for line in (*grid_lines(picture, shaded), *after()):
                write(f"{line}\n".encode())
