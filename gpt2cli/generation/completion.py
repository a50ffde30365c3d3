"""The text and tokens of each sample, piece by piece and complete."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gpt2cli.generation.engine import Engine
from gpt2cli.generation.requests import Event, FinishReason, Request, Token
from gpt2cli.generation.samples.pieces import Piece
from gpt2cli.generation.settings import CompletionSettings
from gpt2cli.text.streaming.text_stream import TextStream
from gpt2cli.text.token_text import token_text
from gpt2cli.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gpt2cli.generation.speculation import Drafts


class Completion:
    """The tokens and text of one sample; the text ends at a stop, the tokens may not.

    It continues the text `before`.
    """

    def __init__(self, tokenizer: Tokenizer, settings: CompletionSettings, before: str = "") -> None:
        self.tokens: list[Token] = []
        self.finish_reason: FinishReason | None = None
        self.drafts: Drafts | None = None
        self._tokenizer = tokenizer
        self._before = before
        self._pieces: list[str] = []
        self._stream = TextStream(
            tokenizer.open_decoder(before),
            settings.stop,
            stop_at=settings.stop_at,
            keep_stop=settings.keep_stop,
            min_tokens=settings.min_tokens,
        )

    @property
    def text(self) -> str:
        """The text that is final."""
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

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
            length = len(self.text)
            offsets = zip(tokens, self._offsets(), strict=True)
            tokens = [token for token, start in offsets if start < length]
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

    def take(self, event: Event) -> str:
        """Add a token or end the sample, and return the text that is now final.

        Raises:
            Error: the sample ended with it.
        """
        if event.error:
            raise event.error
        if event.finish_reason:
            return self.finish(event.finish_reason)
        assert event.token
        return self.push(event.token)

    def _offsets(self) -> Iterator[int]:
        """Yield where each token begins, in characters of the text of all."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        token_bytes = self._tokenizer.open_decoder(self._before)
        length = 0
        for token in self.tokens:
            yield length
            length += len(decoder.decode(token_bytes(token.id)))

    def _keep(self, text: str) -> str:
        self._pieces.append(text)
        return text


class Batch:
    """Samples that an engine makes together; iterating makes them and fills their completions."""

    def __init__(
        self, engine: Engine[Any], requests: Iterable[Request], completions: Mapping[int, Completion]
    ) -> None:
        """Submit requests, one for each number of a completion."""
        self.completions = completions
        self._engine = engine
        self._samples: dict[int, Request] = {engine.submit(request): request for request in requests}
        self._events: Sequence[Event] = ()

    @property
    def drawn(self) -> Mapping[int, Completion]:
        """All samples that were generated, by number."""
        return self.completions

    def begin(self) -> None:
        """Read the prompt and choose the first tokens."""
        while not self._events and not self._engine.idle:
            self._events = self._engine.step()

    def __iter__(self) -> Iterator[Piece]:
        """Yield the texts of all samples as they grow."""
        self.begin()
        while self._events:
            for event in self._events:
                yield self._piece(event)
            self._events = ()
            self.begin()

    def _piece(self, event: Event) -> Piece:
        request = self._samples[event.ticket]
        completion = self.completions[request.sample]
        text = completion.take(event)
        if event.finish_reason:
            completion.drafts = request.drafts
        elif completion.stopped:
            self._engine.stop(event.ticket)
        return Piece(request.sample, text, completion.finish_reason)
