"""Samplers for tests: settings and biases in one value, and one that rereads the text for each token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpt2cli.generation.choice.seen_ids import SeenIds
from gpt2cli.generation.sampling import NEVER, Sampler, Scores, SequenceBias, add_biases, ban
from gpt2cli.generation.settings import SamplingSettings


@dataclass(frozen=True, kw_only=True)
class SamplerSettings(SamplingSettings):
    """How tokens are drawn, with biases on sequences of ids."""

    biases: tuple[SequenceBias, ...] = ()

    def sampler(self, seed: int) -> Sampler:
        """Return a sampler of these settings."""
        return Sampler(self, seed, self.biases)


class RereadingSampler(Sampler):
    """A sampler that looks at all ids of a text for each token."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__(sampler.settings, sampler.seed, sampler.biases)
        self.min_tokens, self.end_ids = sampler.min_tokens, sampler.end_ids

    def adjust(self, logits: Scores, seen: SeenIds) -> Scores:
        """Return the logits with all penalties, biases and bans."""
        settings, ids, generated = self.settings, list(seen.text), list(seen.text)[seen.prompt_length :]
        scores = logits.copy()
        if settings.repetition_penalty != 1.0 and ids:
            found, penalty = np.unique(ids), np.float32(settings.repetition_penalty)
            chosen = scores[found]
            scores[found] = np.where(chosen < 0.0, chosen * penalty, chosen / penalty)
        if generated:
            found, times = np.unique(generated, return_counts=True)
            penalties = settings.presence_penalty + settings.frequency_penalty * times
            scores[found] -= penalties.astype(np.float32)
        scores = add_biases(scores, ids, self.biases).copy()
        if len(generated) < self.min_tokens:
            scores = ban(scores, self.end_ids)
        if 0 < settings.no_repeat_ngram <= len(ids):
            runs = np.lib.stride_tricks.sliding_window_view(np.array(ids), settings.no_repeat_ngram)
            before = np.array(ids[len(ids) - settings.no_repeat_ngram + 1 :], int)
            scores[runs[(runs[:, :-1] == before).all(axis=1), -1]] = NEVER
        return scores
