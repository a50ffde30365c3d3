"""Where the time of a command goes, from the start of its process on."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Stopwatch:
    """Measure the phases of a command in seconds; the first is its start, where the system tells it."""

    def __init__(self) -> None:
        age = _process_age()
        self.seconds: dict[str, float] = {} if age is None else {"start": age}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> float:
        """Count the time since the last lap as a phase, when that ends for the first time, and return it."""
        now = time.perf_counter()
        self._last, seconds = now, now - self._last
        return self.seconds.setdefault(phase, seconds)

    def summary(self) -> str:
        """Return the phases and their sum as one line."""
        phases = ", ".join(f"{phase} {seconds:.3f}" for phase, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.3f} s until the first token: {phases}"


def _process_age() -> float | None:
    """Return the seconds since this process began, to a hundredth; None where the system is not Linux."""
    try:
        # The name of the program, in brackets, may hold spaces.
        fields = Path("/proc/self/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, LookupError, ValueError):
        return None
