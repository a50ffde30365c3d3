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
# Of many prompts: their lengths, the new tokens of each, and what those that begin alike have in common.
LEAST_PROMPT, MOST_PROMPT, NEW_TOKENS, SHARED_TOKENS = 10, 200, 24, 500
# The length of the scored text, in contexts: enough for windows that overlap.
SCORED_CONTEXTS = 2
TOKENIZED_BYTES = 4_000_000
# Parts of five books that the bundled model was not trained on.
HELD_OUT = Path(__file__).parents[1] / "data" / "held_out.txt"


@dataclass(frozen=True)
class Workload:
    """The sizes of the work, in tokens, samples and prompts, and the ids of the longest prompt."""

    context: int
    prompt_ids: tuple[int, ...]
    tokens: int
    batch: int
    prompts: int
    vocabulary: int

    @property
    def short_ids(self) -> tuple[int, ...]:
        """The ids of the prompt before decoding."""
        return self.prompt_ids[:SHORT_PROMPT_TOKENS]

    def sizes(self) -> dict[str, int]:
        """Return the sizes by the names of the settings that ask for them."""
        return {
            "prompt_tokens": len(self.prompt_ids),
            "tokens": self.tokens,
            "batch": self.batch,
            "prompts": self.prompts,
        }

    def mixed_prompts(self) -> list[list[int]]:
        """Return the ids of many prompts of different lengths, with room for NEW_TOKENS."""
        numbers = random.Random(1)
        room = max(1, self.context - NEW_TOKENS)
        lengths = [min(room, numbers.randint(LEAST_PROMPT, MOST_PROMPT)) for _ in range(self.prompts)]
        return [[numbers.randrange(self.vocabulary) for _ in range(length)] for length in lengths]

    def shared_prompts(self) -> list[list[int]]:
        """Return the ids of many prompts whose first SHARED_TOKENS are the same, if the context has room."""
        numbers = random.Random(2)
        room = max(1, self.context - NEW_TOKENS)
        count = min(SHARED_TOKENS, max(0, room - LEAST_PROMPT))
        first, own = ([numbers.randrange(self.vocabulary) for _ in range(size)] for size in (count, room))
        return [
            [*first, (own[0] + each) % self.vocabulary, *own[1:LEAST_PROMPT]][:room]
            for each in range(self.prompts)
        ]


def fit_workload(
    config: ModelConfig, prompt_tokens: int, tokens: int, batch: int, prompts: int = 64
) -> Workload:
    """Return work of the given sizes, cut to the model's context."""
    context = config.n_positions
    numbers = random.Random(0)
    count = max(1, min(prompt_tokens, context - 1))
    # The time does not depend on which ids they are.
    ids = tuple(numbers.randrange(config.vocab_size) for _ in range(count))
    fitting = max(1, min(tokens, context - min(count, SHORT_PROMPT_TOKENS)))
    return Workload(context, ids, fitting, batch, prompts, config.vocab_size)


def tokenized_text() -> str:
    """Return the text to tokenize: the held-out text, repeated to TOKENIZED_BYTES."""
    text = HELD_OUT.read_text("utf-8")
    return text * (TOKENIZED_BYTES // len(text.encode()) + 1)
