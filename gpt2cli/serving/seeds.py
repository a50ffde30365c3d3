"""The seeds of requests that name none."""

from __future__ import annotations

import hashlib
import json

# Every reader of JSON keeps whole numbers of so many bits.
SEED_BITS = 53


def line_seed(run_seed: int, line: int, request_id: str | int | None) -> int:
    """Return the seed of a line, which depends on the seed of the run and the line's id, or else its number.

    So a line has the same text wherever it stands, if it has an id, and in any shard.
    """
    key = ["line", line] if request_id is None else ["id", request_id]
    digest = hashlib.sha256(json.dumps([run_seed, *key]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)
