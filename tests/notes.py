"""A reporter that keeps what a user would read."""

from __future__ import annotations

from gpt2cli.hub.reporter import Reporter


class Notes(Reporter):
    """Keep the notes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)
