"""Log-probabilities with the field names of the OpenAI completions API, a few tokens at a time."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from gpt2cli.generation.requests import Token
from gpt2cli.text.token_text import token_text
from gpt2cli.text.tokenizer import Tokenizer

# JSON has no infinity; this is what clients of vLLM know.
FLOOR = -9999.0


class TokenTable:
    """The tokens of a text in order, which goes on `before`; offsets count characters from `start`."""

    def __init__(self, tokenizer: Tokenizer, before: str = "", start: int = 0) -> None:
        self._data = tokenizer.token_bytes
        self._decode = tokenizer.open_decoder(before)
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")
        self._length = start

    def rows(self, tokens: Sequence[Token], with_ids: bool) -> dict[str, Any]:
        """Return the lists for the next tokens; with ids, also `top_tokens`, the likeliest in order.

        The first token of a text has no log-probability. The chosen token is always in `top_logprobs`.
        """
        rows: dict[str, Any] = {
            "tokens": [token_text(self._data(token.id)) for token in tokens],
            "token_logprobs": [_floored(token.logprob) for token in tokens],
            "top_logprobs": [self._likeliest(token) for token in tokens],
            "text_offset": [self._advance(token.id) for token in tokens],
        }
        if with_ids:
            rows["top_tokens"] = [[self._entry(*entry) for entry in token.top] for token in tokens]
        return rows

    def _likeliest(self, token: Token) -> dict[str, float] | None:
        if token.logprob is None:
            return None
        found: dict[str, float] = {}
        for token_id, logprob in (*token.top, (token.id, token.logprob)):
            # Ids without text of their own share one; the likeliest comes first.
            found.setdefault(token_text(self._data(token_id)), max(logprob, FLOOR))
        return found

    def _entry(self, token_id: int, logprob: float) -> dict[str, Any]:
        text = token_text(self._data(token_id))
        return {"id": token_id, "token": text, "logprob": max(logprob, FLOOR)}

    def _advance(self, token_id: int) -> int:
        """Return where a token begins, and count its characters."""
        start = self._length
        self._length += len(self._characters.decode(self._decode(token_id)))
        return start


def _floored(logprob: float | None) -> float | None:
    return None if logprob is None else max(logprob, FLOOR)
