"""Choosing tokens on a device, in shapes that depend on no number; `generation.sampling.choose` says how."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# As in `Ops.choose`.
NOT_A_NUMBER, ALL_BANNED = -1, -2


class RowFilters(NamedTuple):
    """How the token of each row (rows,) is chosen, in float64; without a filter, 0 or for `top_p` 1."""

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    log_min_p: Tensor
    position: Tensor


def choose(logits: Tensor, filters: RowFilters, candidates: int) -> Tensor:
    """Return the index chosen from each row of float32 logits (rows, vocabulary), or why there is none.

    Only the `candidates` highest logits can be chosen: 1 where each temperature is 0, all where a top-k is 0,
    else more than each top-k. If more tie for the last place of a top-k, some of these are left out.
    """
    best = logits.argmax(-1, keepdim=True)
    highest = logits.gather(1, best)
    chosen = best if candidates == 1 else _draw(logits, filters, candidates, best)
    chosen = torch.where(highest < torch.inf, chosen, NOT_A_NUMBER)
    return torch.where(highest == -torch.inf, ALL_BANNED, chosen)[:, 0]


def _draw(logits: Tensor, filters: RowFilters, candidates: int, best: Tensor) -> Tensor:
    temperature, top_k, top_p, log_min_p, position = (part[:, None] for part in filters)
    if candidates < logits.shape[1]:
        # In the order of their numbers, in which they lie on the line from which one is drawn.
        tokens = logits.topk(candidates, sorted=False).indices.sort().values
        scores = logits.gather(1, tokens)
    else:
        tokens, scores = torch.arange(candidates, device=logits.device).expand_as(logits), logits
    is_greedy = temperature == 0.0
    scores = scores / torch.where(is_greedy, 1.0, temperature).float()
    highest = scores.amax(-1, keepdim=True)
    rising, order = scores.sort(stable=True)
    count = torch.where(top_k > 0.0, top_k, candidates).long().clamp(max=candidates)
    kept = (scores >= rising.gather(1, candidates - count)) & (scores > -torch.inf)
    weights = torch.where(kept, (scores.double() - highest.double()).exp(), 0.0)
    below = weights.gather(1, order).cumsum(-1)
    # The likeliest token is always kept.
    outside = below <= (1.0 - top_p) * below[:, -1:]
    outside[:, -1] = False
    outside = torch.zeros_like(outside).scatter(1, order, outside) & (top_p < 1.0)
    kept = kept & ~outside & (scores >= highest + log_min_p.float())
    line = torch.where(kept, weights, 0.0).cumsum(-1)
    last = line[:, -1:]
    place = torch.minimum(
        (line <= position * last).sum(-1, keepdim=True), (line < last).sum(-1, keepdim=True)
    )
    drawn = tokens.gather(1, place)
    # At such a temperature no other token can be drawn.
    return torch.where(is_greedy | ~highest.isfinite(), best, drawn)
