"""The answer to a request for completions, as the OpenAI API has it."""

from __future__ import annotations

import time
from typing import Any

from gpt2cli.serving.answers import encode_json
from gpt2cli.serving.http.completions.choices import Update, Work
from gpt2cli.serving.http.completions.fields import CompletionBody


class CompletionAnswer:
    """The answer to a request, in chunks or whole."""

    def __init__(self, answer_id: str, model: str, body: CompletionBody, work: Work) -> None:
        self._body = body
        self._work = work
        self._made = 0
        self._texts: list[list[str]] = [[] for _ in range(body.choices)]
        self._choices: list[dict[str, Any]] = [
            {"index": index, "text": "", "logprobs": None, "finish_reason": None}
            for index in range(body.choices)
        ]
        self._head = {
            "id": answer_id,
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
            "seed": work.seed,
        }
        # What all chunks have in common.
        self._before = encode_json(self._head)[:-1] + b',"choices":['
        self._after = b'],"usage":null}' if body.with_usage else b"]}"

    def chunk(self, update: Update) -> bytes:
        """Return a chunk of a stream as JSON."""
        self._made += update.tokens
        choice: dict[str, Any] = {
            "index": update.choice,
            "text": update.text,
            "logprobs": update.logprobs,
            "finish_reason": update.finish_reason,
        }
        if self._body.with_ids:
            choice["token_ids"] = update.token_ids
        return b"".join((self._before, encode_json(choice), self._after))

    def usage_chunk(self) -> bytes:
        """Return the last chunk as JSON, which has the numbers of tokens and no choice."""
        return encode_json({**self._head, "choices": [], "usage": self._usage()})

    def add(self, update: Update) -> None:
        """Add an update to the whole."""
        self._made += update.tokens
        choice = self._choices[update.choice]
        self._texts[update.choice].append(update.text)
        choice["finish_reason"] = update.finish_reason
        if self._body.with_ids:
            choice.setdefault("token_ids", []).extend(update.token_ids)
        if update.logprobs is not None:
            rows = choice["logprobs"] = choice["logprobs"] or {name: [] for name in update.logprobs}
            for name, values in update.logprobs.items():
                rows[name].extend(values)

    def whole(self) -> dict[str, Any]:
        """Return the answer in one piece."""
        for choice, pieces in zip(self._choices, self._texts, strict=True):
            choice["text"] = "".join(pieces)
        return {**self._head, "choices": self._choices, "usage": self._usage()}

    def _usage(self) -> dict[str, int]:
        read = self._work.prompt_tokens
        return {"prompt_tokens": read, "completion_tokens": self._made, "total_tokens": read + self._made}
