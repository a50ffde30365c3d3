"""What is a fault: anything but success and one printable line that says what is wrong."""

from __future__ import annotations

import re

from gpt2cli.cli.app import _explain
from gpt2cli.cli.output.messages import printable
from gpt2cli.errors import Error

# A path can take some of it.
LONGEST_LINE = 1500
BUG = re.compile(r"This is a bug|Traceback \(most recent call last\)|panicked at|Fatal Python error")


def fault_of_error(error: BaseException) -> str:
    """Return what is wrong with an error that library code raised, or nothing."""
    kind = type(error).__name__
    # The command line explains those of the machine too: a folder that cannot be read, a full disk.
    if isinstance(error, Error | OSError):
        return fault_of_line(printable(_explain(error)[0]))
    return f"{kind} is no Error: {str(error)[:500]!r}"


def fault_of_line(line: str) -> str:
    """Return what is wrong with a line for the user, or nothing."""
    if BUG.search(line):
        return f"it is called a bug: {line[:500]!r}"
    if len(line) > LONGEST_LINE:
        return f"a line of {len(line):,} characters: {line[:500]!r}"
    if not line.isprintable():
        return f"not one printable line: {line[:500]!r}"
    return ""


def fault_of_process(code: int, errors: bytes) -> str:
    """Return what is wrong with how a command ended, by its exit code and its stderr, or nothing."""
    text = errors.decode("utf-8", "replace")
    if code not in (0, 1, 2):
        return f"it ended with {code}: {text[-500:]!r}"
    if BUG.search(text):
        return f"it is called a bug: {text[-700:]!r}"
    lines = text.removesuffix("\n").split("\n") if text else []
    for line in lines:
        if fault := fault_of_line(line):
            return fault
    errors_said = [line for line in lines if line.startswith("Error: ")]
    # A command of several files says of each what is wrong.
    if code and not errors_said:
        return f"exit code {code} without an error: {text[-500:]!r}"
    if not code and errors_said:
        return f"success with an error: {text[-500:]!r}"
    return ""
