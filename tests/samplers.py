"""Samplers for tests: settings and biases in one value."""

from __future__ import annotations

from dataclasses import dataclass

from gpt2cli.generation.sampling import Sampler, SequenceBias
from gpt2cli.generation.settings import SamplingSettings


@dataclass(frozen=True, kw_only=True)
class SamplerSettings(SamplingSettings):
    """How tokens are drawn, with biases on sequences of ids."""

    biases: tuple[SequenceBias, ...] = ()

    def sampler(self, seed: int) -> Sampler:
        """Return a sampler of these settings."""
        return Sampler(self, seed, self.biases)
