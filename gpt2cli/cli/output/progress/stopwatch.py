"""Timing the phases of a command from the start of its process."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Stopwatch:
    """Time the phases of a command in seconds, beginning with the process start if known."""

    def __init__(self) -> None:
        age = _process_age()
        self.seconds: dict[str, float] = {} if age is None else {"start": age}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> float:
        """Record the time since the last lap as a phase, the first time that phase ends, and return it."""
        now = time.perf_counter()
        self._last, seconds = now, now - self._last
        return self.seconds.setdefault(phase, seconds)

    def summary(self) -> str:
        """Return the phases and their sum as one line."""
        phases = ", ".join(f"{phase} {seconds:.3f}" for phase, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.3f} s until the first token: {phases}"


def _process_age() -> float | None:
    """Return the seconds since this process started, to 0.01 s, or None outside Linux."""
    try:
        # The program name, in parentheses, may contain spaces.
        fields = Path("/proc/self/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, LookupError, ValueError):
        return None
