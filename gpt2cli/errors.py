"""What can go wrong in a way the user can act on."""

from __future__ import annotations

LONGEST_VALUE = 80


def shown(value: object) -> str:
    """Return a value from a file as errors show it: as Python writes it, and no longer than a line."""
    return brief(repr(value))


def brief(text: str) -> str:
    """Return a name from a file as errors show it: no longer than a line."""
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


class Error(Exception):
    """Report a failure as one sentence that says what happened and one that says what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class UsageError(Error):
    """Reject a request before any work is done."""

    exit_code = 2


class ContextError(UsageError):
    """Reject a text that has more tokens than the model's context holds."""


class CheckpointError(Error):
    """Report model files that are damaged, incomplete or of another architecture."""


class HubError(Error):
    """Report a model that could not be found or fetched."""


class InputError(Error):
    """Report text or files that cannot be read or written."""
