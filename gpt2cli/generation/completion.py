"""The text and tokens of each sample, piece by piece and complete."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import Any

from gpt2cli.generation.batch import Generation
from gpt2cli.generation.pieces import Piece
from gpt2cli.generation.requests import FinishReason, Token
from gpt2cli.generation.settings import CompletionSettings
from gpt2cli.generation.speculation import Drafts
from gpt2cli.text.text_stream import TextStream
from gpt2cli.text.token_text import token_text
from gpt2cli.text.tokenizer import Tokenizer


class Completion:
    """The tokens and text of one sample; the text ends at a stop, the tokens may not.

    It continues the text `before`.
    """

    def __init__(self, tokenizer: Tokenizer, settings: CompletionSettings, before: str = "") -> None:
        self.text = ""
        self.tokens: list[Token] = []
        self.finish_reason: FinishReason | None = None
        self.drafts: Drafts | None = None
        self._tokenizer = tokenizer
        self._before = before
        self._stream = TextStream(
            tokenizer.open_decoder(before),
            settings.stop,
            stop_at=settings.stop_at,
            keep_stop=settings.keep_stop,
            min_tokens=settings.min_tokens,
        )

    @property
    def stopped(self) -> bool:
        """Whether a stop was found."""
        return self._stream.stopped

    @property
    def usage(self) -> dict[str, int]:
        """The numbers of chosen tokens and, with speculation, of draft tokens."""
        usage = {"completion_tokens": len(self.tokens)}
        if self.drafts:
            usage |= {
                "draft_tokens": self.drafts.proposed,
                "accepted_draft_tokens": self.drafts.accepted,
            }
        return usage

    @property
    def mean_logprob(self) -> float | None:
        """The mean log-probability, in nats, of the tokens that begin in the text; None if it is unknown."""
        tokens = self.tokens
        if self.stopped:
            offsets = zip(tokens, self._offsets(), strict=True)
            tokens = [token for token, start in offsets if start < len(self.text)]
        logprobs = [token.logprob for token in tokens if token.logprob is not None]
        return sum(logprobs) / len(logprobs) if logprobs else None

    def logprobs_table(self) -> dict[str, Any]:
        """Return log-probabilities with the field names of the OpenAI completions API.

        A token that is not valid UTF-8 on its own is shown as `bytes:` and its bytes as \\xNN. Offsets count
        characters of the text; tokens that share a character have the offset where it begins.
        """
        data = self._tokenizer.token_bytes
        return {
            "tokens": [token_text(data(token.id)) for token in self.tokens],
            "token_logprobs": [token.logprob for token in self.tokens],
            "top_logprobs": [
                {token_text(data(other)): logprob for other, logprob in token.top} for token in self.tokens
            ],
            "text_offset": list(self._offsets()),
            "bytes": [list(data(token.id)) for token in self.tokens],
        }

    def push(self, token: Token) -> str:
        """Add a token and return the text that is now final."""
        self.tokens.append(token)
        return self._keep(self._stream.push(token.id))

    def finish(self, reason: FinishReason) -> str:
        """End the sample and return the rest of its text."""
        text = self._keep(self._stream.finish())
        self.finish_reason = "stop" if self._stream.stopped else reason
        return text

    def _offsets(self) -> Iterator[int]:
        """Yield where each token begins, in characters of the text of all."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        token_bytes = self._tokenizer.open_decoder(self._before)
        length = 0
        for token in self.tokens:
            yield length
            length += len(decoder.decode(token_bytes(token.id)))

    def _keep(self, text: str) -> str:
        self.text += text
        return text


def stream_text(generation: Generation[Any], completions: Mapping[int, Completion]) -> Iterator[Piece]:
    """Yield the texts of all samples as they grow, and fill their completions."""
    for token in generation:
        completion = completions[token.sample]
        text = completion.push(Token(*token[1:]))
        if completion.stopped:
            generation.stop(token.sample)
        yield Piece(token.sample, text)
        yield from _finish(generation, completions)
    yield from _finish(generation, completions)


def _finish(generation: Generation[Any], completions: Mapping[int, Completion]) -> Iterator[Piece]:
    for sample, reason in generation.finish_reasons.items():
        completion = completions[sample]
        if completion.finish_reason is None:
            text = completion.finish(reason)
            completion.drafts = generation.drafts.get(sample)
            yield Piece(sample, text, completion.finish_reason)
