"""What a server takes on at once."""

from __future__ import annotations

from dataclasses import dataclass

from gpt2cli.errors import UsageError


@dataclass(frozen=True, eq=False, repr=False)
class Limits:
    """How much a server takes on.

    `batch_size` samples are made at once, and `queue` more may wait. Their keys and values take at most
    `kv_memory` megabytes, by default a share of what is free. A request has at most `body_bytes`, and
    at most `seconds` to arrive and `seconds` to be answered. A server that stops gives the requests that are
    being answered `grace` seconds.

    Raises:
        UsageError: a value is out of its range.
    """

    batch_size: int = 64
    queue: int = 256
    kv_memory: int | None = None
    body_bytes: int = 4 << 20
    seconds: float = 600.0
    grace: float = 10.0

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("queue", 0), ("body_bytes", 1024), ("grace", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"`{name}` must be {least} or more, not {getattr(self, name)}.")
        if self.kv_memory is not None and self.kv_memory < 1:
            raise UsageError(f"`kv_memory` must be 1 or more, not {self.kv_memory}.")
        if not self.seconds > 0:
            raise UsageError(f"`seconds` must be above 0, not {self.seconds}.")

    @property
    def samples(self) -> int:
        """The most samples that are made or wait."""
        return self.batch_size + self.queue
