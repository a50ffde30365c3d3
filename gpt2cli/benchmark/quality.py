"""The quality that a number type costs, against float32 on the same text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gpt2cli.benchmark.report import report_quality, run_facts
from gpt2cli.errors import Error, UsageError
from gpt2cli.generation.sampling import log_softmax
from gpt2cli.hub.reporter import Reporter
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.loading import LoadedModel
from gpt2cli.model.model import Model, load_model
from gpt2cli.ops.compute import Compute
from gpt2cli.scoring.streaming.id_blocks import reach_of
from gpt2cli.scoring.windows import Scheme, Window

# Log-probabilities take 6 MB per model with GPT-2's vocabulary, and their products as much again.
POSITIONS_AT_ONCE = 32


@dataclass(frozen=True)
class Quality:
    """How well a model and a reference predicted the same tokens.

    Nats are sums, and `mean_kl` is in nats per token. `top1_agreement` is the share of positions where both
    models rank the same token first.
    """

    tokens: int
    reference_nats: float
    nats: float
    top1_agreement: float
    mean_kl: float

    @property
    def reference_perplexity(self) -> float:
        """The perplexity of the reference."""
        return math.exp(self.reference_nats / self.tokens)

    @property
    def perplexity(self) -> float:
        """The perplexity of the model."""
        return math.exp(self.nats / self.tokens)

    @property
    def perplexity_ratio(self) -> float:
        """The perplexity as a multiple of the reference's."""
        return math.exp((self.nats - self.reference_nats) / self.tokens)


def measure_quality(
    loaded: LoadedModel, compute: Compute, text: str, source: str | None, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Compare a model with itself in float32 on a text, and return the report; `source` names the text.

    Raises:
        UsageError: the text has too few tokens.
        Error: the model produced NaN.
    """
    reporter = reporter or Reporter()
    model, tokenizer = loaded.model, loaded.tokenizer
    ids = tokenizer.encode(text)
    if len(ids) < (2 if tokenizer.bos_id is None else 1):
        raise UsageError("The text has too few tokens.")
    # On the same backend, so that only the number type differs.
    same = replace(compute, device=model.ops.device_name, backend=model.ops.name)
    reference = load_model(loaded.files, same.in_float32().open())
    context = model.config.n_positions
    # The windows of `gpt2 score`, for the same perplexity.
    scheme = Scheme(tokenizer.bos_id, context, max(1, context // 2))
    with reporter.working("Predicting the held-out text"):
        quality = compare_quality(reference, model, ids, scheme)
    unseen = ids[:1] if tokenizer.bos_id is None else []
    sizes = {"window": scheme.window, "stride": scheme.stride, "bos": scheme.bos_id is not None}
    text_bytes = len(text.encode()) - len(tokenizer.decode(unseen))
    return report_quality(quality, run_facts(loaded, compute, sizes), source, text_bytes)


def compare_quality(reference: Model[Any], model: Model[Any], ids: Sequence[int], scheme: Scheme) -> Quality:
    """Predict the same ids with two models of one vocabulary; with BOS, there must be at least two ids.

    `scoring.predictions` knows how likely each token was, but not which one was likeliest.

    Raises:
        Error: a model produced NaN.
    """
    sequence = [*([] if scheme.bos_id is None else [scheme.bos_id]), *ids]
    sums = np.zeros(4)
    for window in scheme.windows(reach_of(len(sequence)), scheme.window, scheme.stride):
        sums += _window_sums(reference, model, sequence, window)
    tokens = len(sequence) - 1
    if not np.isfinite(sums).all():
        raise Error("The model produced NaN.", "Try another `dtype`.")
    reference_nats, nats, agreed, kl = map(float, sums)
    return Quality(tokens, reference_nats, nats, agreed / tokens, kl / tokens)


def _window_sums(reference: Model[Any], model: Model[Any], sequence: Sequence[int], window: Window) -> Any:
    row = sequence[window.start : window.end]
    hidden = [(each, hidden_states(each, each.ops.token_ids([row]))[0]) for each in (reference, model)]
    sums = np.zeros(4)
    # Nothing follows the last token.
    last = min(window.last, len(sequence))
    for first in range(window.first, last, POSITIONS_AT_ONCE):
        targets = np.array(sequence[first : min(first + POSITIONS_AT_ONCE, last)])
        begin = first - 1 - window.start
        expected, found = (
            log_softmax(each.ops.to_numpy(logits(each, states[begin : begin + len(targets)])))
            for each, states in hidden
        )
        places = np.arange(len(targets))
        sums += (
            -expected[places, targets].sum(dtype=np.float64),
            -found[places, targets].sum(dtype=np.float64),
            np.count_nonzero(expected.argmax(axis=-1) == found.argmax(axis=-1)),
            np.vecdot(np.exp(expected), expected - found).sum(dtype=np.float64),
        )
    return sums
