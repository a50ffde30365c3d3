"""What a way to compute costs in quality: a text predicted by it and by float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt2cli.errors import Error
from gpt2cli.generation.sampling import log_softmax
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.model import Model
from gpt2cli.scoring.predictions import Scheme, Window

# Two models' log-probabilities and what is made of them, of 6 MB each with GPT-2's vocabulary.
POSITIONS_AT_ONCE = 32


@dataclass(frozen=True)
class Quality:
    """Tell how two models predicted `tokens` tokens; nats are sums, `mean_kl` is in nats a token.

    `top1_agreement` is the share of places where both find the same token likeliest.
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
        """The perplexity of the model that is judged."""
        return math.exp(self.nats / self.tokens)

    @property
    def perplexity_ratio(self) -> float:
        """How many times the perplexity of the reference it is."""
        return math.exp((self.nats - self.reference_nats) / self.tokens)


def compare_quality(reference: Model[Any], model: Model[Any], ids: Sequence[int], scheme: Scheme) -> Quality:
    """Predict the same ids, two or more with that of BOS, with two models of the same vocabulary.

    `scoring.predictions` tells how likely each token was, but not which one was likeliest.

    Raises:
        Error: the values of a model are not numbers.
    """
    sequence = [*([] if scheme.bos_id is None else [scheme.bos_id]), *ids]
    sums = np.zeros(4)
    for window in scheme.windows(len(sequence), scheme.window, scheme.stride):
        sums += _window_sums(reference, model, sequence, window)
    tokens = len(sequence) - 1
    if not np.isfinite(sums).all():
        raise Error("A model computed values that are not numbers.", "Try another --dtype.")
    reference_nats, nats, agreed, kl = map(float, sums)
    return Quality(tokens, reference_nats, nats, agreed / tokens, kl / tokens)


def _window_sums(reference: Model[Any], model: Model[Any], sequence: Sequence[int], window: Window) -> Any:
    row = sequence[window.start : window.end]
    hidden = [(each, hidden_states(each, each.ops.token_ids([row]))[0]) for each in (reference, model)]
    sums = np.zeros(4)
    # What follows the last token is not known.
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
