"""Next-token probabilities as bars on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from gpt2cli.cli.output.record import Record
from gpt2cli.cli.output.streams import terminal_columns, wants_color, write_stdout
from gpt2cli.text.cells import cell_width, crop
from gpt2cli.text.printable import escaped

BAR_WIDTH = 30
CYAN, PLAIN = "\x1b[36m", "\x1b[0m"
# A percentage and the spaces around the name.
TAKEN = 12


def print_bars(records: Sequence[Record], color: str) -> None:
    """Print the probability of each token or text as a number and a bar, sized to fit."""
    room = terminal_columns()
    names = [crop(escaped(record.get("token", record.get("text"))), room - TAKEN) for record in records]
    width = max(map(cell_width, names))
    bar_width = max(0, min(BAR_WIDTH, room - width - TAKEN))
    style, plain = (CYAN, PLAIN) if wants_color(color) else ("", "")
    for record, name in zip(records, names, strict=True):
        bar = "█" * round(bar_width * record["probability"] / records[0]["probability"])
        line = f"{record['probability']:8.3%}  {name}{' ' * (width - cell_width(name))}  "
        write_stdout(f"{line}{style}{bar}{plain}\n".encode() if bar else f"{line.rstrip()}\n".encode())
