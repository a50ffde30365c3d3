"""The logits behind any prefix of a text, reading again as little as possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpt2cli.generation.sampling import Scores
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.loading import LoadedModel

# 200 KB each with GPT-2's vocabulary.
KEPT_ROWS = 256


class Reader:
    """A model that reads prefixes of texts; what two of them share is read once.

    Of a text that exceeds the context, the newest part is read that leaves half of the context.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._model = loaded.model
        bos_id = loaded.tokenizer.bos_id
        self._leading = [] if bos_id is None else [bos_id]
        self._cache: KVCache[Any] | None = None
        self._cached: list[int] = []
        self._rows: dict[tuple[int, ...], Scores] = {}

    def scores(self, ids: Sequence[int]) -> Scores:
        """Return the logits (vocabulary,) of the token that follows `ids`."""
        key = tuple(ids)
        if key not in self._rows:
            if len(self._rows) >= KEPT_ROWS:
                self._rows.pop(next(iter(self._rows)))
            self._rows[key] = self._read([*self._leading, *ids])
        return self._rows[key]

    def _read(self, ids: list[int]) -> Scores:
        model, context = self._model, self._model.config.n_positions
        if not ids:
            return np.zeros(model.config.vocab_size, np.float32)
        if len(ids) > context:
            # Windows move by half a context, so that the next tokens find what was read.
            half = max(1, context // 2)
            ids = ids[(len(ids) - context + half - 1) // half * half :]
        if self._cache is None:
            self._cache = KVCache(model.config, model.ops, 1, context)
        shared = next(
            (n for n, (old, new) in enumerate(zip(self._cached, ids, strict=False)) if old != new),
            min(len(self._cached), len(ids)),
        )
        shared = min(shared, len(ids) - 1)
        self._cache.truncate(shared)
        hidden: Any = hidden_states(model, model.ops.token_ids([ids[shared:]]), self._cache, first=-1)
        self._cached = ids
        return np.array(model.ops.to_numpy(logits(model, hidden))[0, 0])
