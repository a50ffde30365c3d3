"""Writing with a model, step by step: the tree, the settings and the distribution at the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpt2cli.errors import UsageError
from gpt2cli.generation.choice.philox import uniform
from gpt2cli.generation.sampling import Scores, draw, keep_top_p, log_softmax
from gpt2cli.generation.settings import MAX_SEED
from gpt2cli.inspection.exploration.reader import Reader
from gpt2cli.inspection.exploration.text_tree import ROOT, TextTree
from gpt2cli.model.loading import LoadedModel

TEMPERATURE_STEP, TOP_P_STEP = 0.1, 0.05
HIGHEST_TEMPERATURE, LEAST_TOP_P = 5.0, 0.05


@dataclass(frozen=True)
class Alternative:
    """A token that may follow the cursor.

    `probability` is the model's, `chance` that of a draw at this temperature and top-p. `taken` says that a
    branch begins with it, `shown` that this branch is in view.
    """

    token_id: int
    data: bytes
    probability: float
    chance: float
    taken: bool
    shown: bool


class Exploration:
    """A tree of texts that grows at its cursor; draws depend on the seed and their number alone.

    Raises:
        UsageError: as `set_draws` does.
    """

    def __init__(
        self, loaded: LoadedModel, temperature: float = 0.8, top_p: float = 0.95, seed: int = 0
    ) -> None:
        self.loaded = loaded
        self.tree = TextTree()
        self.set_draws(temperature, top_p, seed)
        self.saved = True
        self._reader = Reader(loaded)

    def set_draws(self, temperature: float, top_p: float, seed: int, draws: int = 0) -> None:
        """Set how tokens are drawn, after so many draws.

        Raises:
            UsageError: a value is out of its range.
        """
        _require("temperature", temperature, 0.0, HIGHEST_TEMPERATURE)
        _require("top_p", top_p, LEAST_TOP_P, 1.0)
        _require("seed", seed, 0, MAX_SEED)
        _require("draws", draws, 0, MAX_SEED)
        self.temperature, self.top_p, self.seed, self.draws = temperature, top_p, seed, draws

    def begin(self, text: str) -> None:
        """Put a text at the beginning of the tree; it is no change that could be undone.

        Raises:
            InputError: the text is not Unicode.
        """
        node = ROOT
        for token_id in self.loaded.tokenizer.encode(text):
            node = self.tree.grow(node, token_id)
        self.tree.view_last()

    def alternatives(self, count: int) -> list[Alternative]:
        """Return the likeliest tokens at the cursor, likeliest first, and behind them all that were taken."""
        tree, tokenizer = self.tree, self.loaded.tokenizer
        logprobs = log_softmax(self._scores())
        chances = self._chances()
        taken = [tree.nodes[node].token_id for node in tree.branches]
        following = tree.path[tree.place + 1 : tree.place + 2]
        shown = {tree.nodes[node].token_id for node in following}
        order = np.argsort(-logprobs, kind="stable")[:count].tolist()
        ids = [*order, *(token_id for token_id in taken if token_id not in order)]
        return [
            Alternative(
                token_id,
                tokenizer.token_bytes(token_id),
                float(np.exp(logprobs[token_id])),
                float(chances[token_id]),
                token_id in taken,
                token_id in shown,
            )
            for token_id in ids
        ]

    def take(self, token_id: int) -> None:
        """Go on with a token at the cursor."""
        self.tree.take(token_id)
        self.saved = False

    def write(self, text: str) -> None:
        """Go on with a text at the cursor.

        Raises:
            InputError: the text is not Unicode.
        """
        self.tree.write(self.loaded.tokenizer.encode(text, continues=self.tree.place > 0))
        self.saved = self.saved and not text

    def sample(self, *, continues: bool = False) -> int:
        """Draw a token at the cursor, go on with it and return it; it may be a part of the change before."""
        token_id = self._draw()
        (self.tree.extend if continues else self.tree.take)(token_id)
        self.saved = False
        return token_id

    def undo(self) -> bool:
        """Take back the last change, and return whether there was one."""
        self.saved = False
        return self.tree.undo()

    def warm(self, steps: int) -> None:
        """Change the temperature by so many steps; at 0 the likeliest token is drawn."""
        changed = round(self.temperature + steps * TEMPERATURE_STEP, 2)
        self.temperature = min(max(changed, 0.0), HIGHEST_TEMPERATURE)

    def widen(self, steps: int) -> None:
        """Change top-p by so many steps."""
        self.top_p = min(max(round(self.top_p + steps * TOP_P_STEP, 2), LEAST_TOP_P), 1.0)

    def text(self, ids: Sequence[int] | None = None) -> bytes:
        """Return the text in view, or that of other tokens."""
        return b"".join(map(self.loaded.tokenizer.token_bytes, self.tree.ids if ids is None else ids))

    def _scores(self) -> Scores:
        return self._reader.scores(self.tree.ids[: self.tree.place])

    def _chances(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        scores = self._scores()
        chances = np.zeros(len(scores))
        if self.temperature == 0.0:
            chances[int(scores.argmax())] = 1.0
            return chances
        scaled = self._scaled(scores)
        kept = keep_top_p(scaled, self.top_p)
        weights = np.exp(scaled[kept].astype(np.float64))
        chances[kept] = weights / weights.sum()
        return chances

    def _draw(self) -> int:
        scores = self._scores()
        if self.temperature == 0.0:
            return int(scores.argmax())
        scaled = self._scaled(scores)
        kept = keep_top_p(scaled, self.top_p)
        drawn = draw(scaled[kept], uniform(self.seed, 0, self.draws))
        self.draws += 1
        return int(kept[drawn])

    def _scaled(self, scores: Scores) -> Scores:
        """Return the scores at this temperature; the highest is 0, however low that is."""
        with np.errstate(over="ignore"):
            scaled: Scores = ((scores.astype(np.float64) - scores.max()) / self.temperature).astype(
                np.float32
            )
        return scaled


def _require(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise UsageError(f"`{name}` must be between {least} and {most}, not {value}.")
