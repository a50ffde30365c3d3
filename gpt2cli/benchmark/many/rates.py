"""Rates of many prompts: that of one run, and the best of several sizes of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpt2cli.benchmark.many.prompts import Prompt
from gpt2cli.errors import Error

# Of the prompts in the order of their lengths: so many parts of as many neighbours as the largest batch has,
# because some engines are slower the more the lengths in a batch differ.
PARTS, NEIGHBOURS = 3, 64


def token_rate(made: int, wanted: int, seconds: float) -> float:
    """Return the new tokens per second.

    Raises:
        Error: there are not as many as were wanted.
    """
    if made != wanted:
        raise Error(f"it made {made:,} tokens in place of {wanted:,}.")
    return made / seconds


def best_rate(
    prompts: Sequence[Prompt], sizes: Sequence[int], rate: Callable[[Sequence[Prompt], int], float]
) -> float:
    """Return the rate on all prompts at the size that is the best on a sample of them."""
    sample = _sample(prompts)
    rates = {size: rate(sample, size) for size in sizes}
    best = max(rates, key=lambda size: rates[size])
    return rates[best] if len(sample) == len(prompts) else rate(prompts, best)


def _sample(prompts: Sequence[Prompt]) -> Sequence[Prompt]:
    if len(prompts) <= PARTS * NEIGHBOURS:
        return prompts
    ordered = sorted(prompts, key=lambda prompt: len(prompt.ids))
    begins = [len(ordered) * part // PARTS for part in range(PARTS)]
    # From the middle of each third.
    shift = (len(ordered) // PARTS - NEIGHBOURS) // 2
    return [prompt for begin in begins for prompt in ordered[begin + shift :][:NEIGHBOURS]]
