"""What a server has done, in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """Counts of requests and tokens, and how long they took."""

    def __init__(self, model: str, version: str) -> None:
        registry = self._registry = CollectorRegistry()
        Info("gpt2_server", "The version and the model.", registry=registry).info(
            {"version": version, "model": model}
        )
        self.requests = Counter("gpt2_requests", "Requests answered.", ("route", "status"), registry=registry)
        self.prompt_tokens = Counter("gpt2_prompt_tokens", "Tokens of prompts.", registry=registry)
        self.completion_tokens = Counter("gpt2_completion_tokens", "Tokens made.", registry=registry)
        self.samples = Gauge("gpt2_samples", "Samples that are made or wait.", registry=registry)
        self.cancelled = Counter(
            "gpt2_cancelled_samples",
            "Samples whose client went away or whose time was over.",
            registry=registry,
        )
        self.first_token = Histogram(
            "gpt2_first_token_seconds",
            "Seconds from a request to its first piece.",
            registry=registry,
            buckets=SECONDS,
        )
        self.gap = Histogram(
            "gpt2_token_gap_seconds",
            "Seconds between two pieces of a request.",
            registry=registry,
            buckets=SECONDS,
        )

    def exposition(self) -> bytes:
        """Return all values."""
        return generate_latest(self._registry)
