"""Symbols coded with a model's predictions, in windows as a long text is scored.

The encoder reads a window at once and the decoder token by token. Both see the same logits only where sums do
not depend on how many tokens are read together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from gpt2cli.inspection.compression.frequencies import Frequencies, frequencies
from gpt2cli.inspection.compression.range_coder import RangeDecoder, RangeEncoder
from gpt2cli.inspection.compression.symbols import Symbol, spells_all
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.model.kv_cache import KVCache
from gpt2cli.model.loading import LoadedModel
from gpt2cli.model.model import Model

# Frequencies of a whole window would take half a gigabyte with GPT-2's vocabulary.
ROWS_AT_ONCE = 32
BYTES = 256
# How much likelier each symbol is at first than the end of the text.
GOING_ON = 15


def encode(loaded: LoadedModel, symbols: Iterable[Symbol]) -> Iterator[bytes]:
    """Yield the code of symbols, a window at a time.

    Raises:
        Error: the model produced NaN.
    """
    encoder = SymbolEncoder(loaded)
    for symbol in symbols:
        if data := encoder.push(symbol):
            yield data
    yield encoder.finish()


class Flags:
    """The frequencies of a yes or no that was seldom yes, learned as they come."""

    def __init__(self, never_yet: int) -> None:
        self._counts = [never_yet, 1]

    def encode(self, coder: RangeEncoder, flag: bool) -> None:
        """Encode a flag."""
        no, yes = self._counts
        coder.encode(*((no, yes) if flag else (0, no)), no + yes)
        self._counts[flag] += 1

    def decode(self, coder: RangeDecoder) -> bool:
        """Decode a flag."""
        no, yes = self._counts
        flag = coder.position(no + yes) >= no
        coder.decode(*((no, yes) if flag else (0, no)))
        self._counts[flag] += 1
        return flag


class Window:
    """The tokens that predict the next one, and the move to the next window.

    Each window reads the model's whole context and begins half a context behind the one before.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        bos_id = loaded.tokenizer.bos_id
        self._size = loaded.model.config.n_positions
        self.ids: list[int] = [] if bos_id is None else [bos_id]
        # How many of them were there when the window began.
        self.begun = len(self.ids)

    def push(self, token_id: int) -> bool:
        """Add a token, and return whether it is the last that the window predicts."""
        self.ids.append(token_id)
        return len(self.ids) > self._size

    def move(self) -> None:
        """Begin the next window."""
        self.ids = self.ids[max(1, self._size // 2) :]
        self.begun = len(self.ids)


class SymbolEncoder:
    """Encode symbols; windows are read once all their tokens are known."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._model: Model[Any] = loaded.model
        self._coder = RangeEncoder()
        self._ends = Flags(GOING_ON)
        self._escapes = None if spells_all(loaded.tokenizer) else Flags(GOING_ON)
        self._window = Window(loaded)
        self._waiting: list[Symbol] = []

    def push(self, symbol: Symbol) -> bytes:
        """Add a symbol and return what is final of the code."""
        self._waiting.append(symbol)
        if symbol.is_token and self._window.push(symbol.value):
            self._encode_waiting()
            self._window.move()
        return self._coder.drain()

    def finish(self) -> bytes:
        """Encode the end and return the rest of the code."""
        self._encode_waiting()
        self._ends.encode(self._coder, True)
        return self._coder.finish()

    def _encode_waiting(self) -> None:
        rows = self._rows()
        for symbol in self._waiting:
            self._ends.encode(self._coder, False)
            if self._escapes:
                self._escapes.encode(self._coder, not symbol.is_token)
            if symbol.is_token:
                row = next(rows)
                start = int(row[: symbol.value].sum())
                self._coder.encode(start, int(row[symbol.value]), int(row.sum()))
            else:
                self._coder.encode(symbol.value, 1, BYTES)
        self._waiting.clear()

    def _rows(self) -> Iterator[Frequencies]:
        """Yield the frequencies of each token of the window that is to be encoded."""
        ids, first = self._window.ids, self._window.begun - 1
        if first < 0 and ids:
            yield unconditional(self._model)
            first = 0
        read = ids[:-1]
        if first >= len(read):
            return
        model = self._model
        hidden: Any = hidden_states(model, model.ops.token_ids([read]), first=first)
        for begin in range(0, len(read) - first, ROWS_AT_ONCE):
            part = hidden[0, begin : begin + ROWS_AT_ONCE]
            yield from frequencies(model.ops.to_numpy(logits(model, part)))


class SymbolDecoder:
    """Decode symbols; iterating yields them up to the end."""

    def __init__(self, loaded: LoadedModel, chunks: Iterable[bytes]) -> None:
        self._model: Model[Any] = loaded.model
        self._coder = RangeDecoder(chunks)
        self._ends = Flags(GOING_ON)
        self._escapes = None if spells_all(loaded.tokenizer) else Flags(GOING_ON)
        self._window = Window(loaded)
        self._cache: KVCache[Any] | None = None

    def __iter__(self) -> Iterator[Symbol]:
        """Yield the symbols.

        Raises:
            InputError: no encoder wrote this.
            Error: the model produced NaN.
        """
        while not self._ends.decode(self._coder):
            if self._escapes and self._escapes.decode(self._coder):
                byte = self._coder.position(BYTES)
                self._coder.decode(byte, 1)
                yield Symbol(byte, False)
            else:
                yield Symbol(self._token(), True)

    def _token(self) -> int:
        row = self._frequencies()
        ends = np.cumsum(row)
        position = self._coder.position(int(ends[-1]))
        token_id = int(np.searchsorted(ends, position, side="right"))
        self._coder.decode(int(ends[token_id] - row[token_id]), int(row[token_id]))
        if self._window.push(token_id):
            self._window.move()
            self._cache = None
        return token_id

    def _frequencies(self) -> Frequencies:
        model, ids = self._model, self._window.ids
        if not ids:
            return unconditional(model)
        if self._cache is None:
            self._cache = KVCache(model.config, model.ops, 1, model.config.n_positions)
        new = ids[self._cache.length :]
        hidden: Any = hidden_states(model, model.ops.token_ids([new]), self._cache, first=-1)
        return frequencies(model.ops.to_numpy(logits(model, hidden))[0, 0])


def unconditional(model: Model[Any]) -> Frequencies:
    """Return equal frequencies, for a first token that nothing precedes."""
    return np.ones(model.config.vocab_size, np.int64)
