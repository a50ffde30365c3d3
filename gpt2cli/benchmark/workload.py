"""The work that every engine gets: the same prompts and the same numbers of tokens."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from gpt2cli.checkpoint.config import ModelConfig

# Ten words, for the first token of a cold start.
PROMPT = "It was late in the evening when the old king"
# The prompt before decoding.
SHORT_PROMPT_TOKENS = 8
# After each of many prompts.
NEW_TOKENS = 24
# The length of the scored text, in contexts: enough for windows that overlap.
SCORED_CONTEXTS = 2
TOKENIZED_BYTES = 4_000_000
# Parts of five books that the bundled model was not trained on.
HELD_OUT = Path(__file__).parents[1] / "data" / "held_out.txt"


@dataclass(frozen=True)
class Workload:
    """The sizes of the work, in tokens, samples, prompts and clients, and the ids of the longest prompt."""

    context: int
    prompt_ids: tuple[int, ...]
    tokens: int
    batch: int
    prompts: int
    clients: int

    @property
    def short_ids(self) -> tuple[int, ...]:
        """The ids of the prompt before decoding."""
        return self.prompt_ids[:SHORT_PROMPT_TOKENS]

    @property
    def new_tokens(self) -> int:
        """The tokens after each of many prompts."""
        return min(NEW_TOKENS, self.context // 2)

    def sizes(self) -> dict[str, int]:
        """Return the sizes by the names of the settings that ask for them."""
        return {
            "prompt_tokens": len(self.prompt_ids),
            "tokens": self.tokens,
            "batch": self.batch,
            "prompts": self.prompts,
            "clients": self.clients,
        }


def fit_workload(
    config: ModelConfig, prompt_tokens: int, tokens: int, batch: int, prompts: int, clients: int
) -> Workload:
    """Return work of the given sizes, cut to the model's context."""
    context = config.n_positions
    numbers = random.Random(0)
    count = max(1, min(prompt_tokens, context - 1))
    # The time does not depend on which ids they are.
    ids = tuple(numbers.randrange(config.vocab_size) for _ in range(count))
    fitting = max(1, min(tokens, context - min(count, SHORT_PROMPT_TOKENS)))
    return Workload(context, ids, fitting, batch, prompts, clients)


def tokenized_text() -> str:
    """Return the text to tokenize: the held-out text, repeated to TOKENIZED_BYTES."""
    text = HELD_OUT.read_text("utf-8")
    return text * (TOKENIZED_BYTES // len(text.encode()) + 1)
