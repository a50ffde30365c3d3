"""Search for faults: `make fuzz`, or `make fuzz MINUTES=60 SEED=7 KINDS='config network'`.

A finding is kept as a folder with a file or a command, and the command that repeats it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fuzz.searches import searches
from fuzz.worker import Tally, search

MOST_SHOWN = 20


def main() -> None:
    """Make the attempts asked for, print counts and findings, and exit with 1 if there are any."""
    known = searches()
    parser = argparse.ArgumentParser(prog="make fuzz", description="Search for faults.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(known)}; all of them")
    parser.add_argument("--minutes", type=float, default=5.0, help="in all, divided among the kinds")
    parser.add_argument("--attempts", type=int, default=0, help="of each kind, in place of a time")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--case", type=int, default=None, help="the number of one attempt to repeat")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    asked = parser.parse_args()
    if unknown := set(asked.kinds) - known.keys():
        parser.error(f"no kind is named {', '.join(sorted(unknown))}")
    kinds = asked.kinds or list(known)
    print(f"seed {asked.seed}", flush=True)
    tallies = []
    for name in kinds:
        goes_on = _limit(asked.case, asked.attempts, 60.0 * asked.minutes / len(kinds))
        tally = search(known[name], asked.seed, goes_on, asked.findings, asked.case or 0)
        _report(name, tally)
        tallies.append(tally)
    sys.exit(any(tally.findings for tally in tallies))


def _limit(case: int | None, attempts: int, seconds: float) -> Callable[[int], bool]:
    if case is not None:
        return lambda number: number == case
    if attempts:
        return lambda number: number < attempts
    end = time.monotonic() + seconds
    return lambda number: time.monotonic() < end


def _report(name: str, tally: Tally) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(tally.kinds.items()))
    print(f"{name}: {tally.attempts:,} attempts, {kinds}, {len(tally.findings):,} faults", flush=True)
    # Many attempts find the same.
    for finding in tally.findings[:MOST_SHOWN]:
        print(f"  {finding}".encode("utf-8", "backslashreplace").decode(), flush=True)


if __name__ == "__main__":
    main()
