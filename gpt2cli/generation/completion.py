"""What a prompt was continued with: the text of each sample, piece by piece and whole."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gpt2cli.generation.engine import FinishReason, Generation, Token
from gpt2cli.generation.speculation import Drafts
from gpt2cli.text.text_stream import TextStream
from gpt2cli.text.tokenizer import Tokenizer


class Piece(NamedTuple):
    """Report text of a sample that became certain; `finish_reason` is set on its last piece."""

    sample: int
    text: str
    finish_reason: FinishReason | None = None


class Timing(NamedTuple):
    """Tell the seconds spent on loading, on reading the prompt, and on the tokens of one batch."""

    load_seconds: float
    prefill_seconds: float
    decode_seconds: float


class Completion:
    """Collect the tokens of one sample; its ids may go beyond its text, which ends before a stop string."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self.text = ""
        self.tokens: list[Token] = []
        self.finish_reason: FinishReason | None = None
        self.drafts: Drafts | None = None
        self._stream = TextStream(tokenizer.token_bytes, stop)

    @property
    def stopped(self) -> bool:
        """Tell whether a stop string was found."""
        return self._stream.stopped

    @property
    def usage(self) -> dict[str, int]:
        """Return the numbers of tokens that were chosen, and of those that were drafted, if any could be."""
        usage = {"completion_tokens": len(self.tokens)}
        if self.drafts:
            usage |= {
                "draft_tokens": self.drafts.proposed,
                "accepted_draft_tokens": self.drafts.accepted,
            }
        return usage

    def push(self, token: Token) -> str:
        """Add a token and return the text that is certain by now."""
        self.tokens.append(token)
        return self._keep(self._stream.push(token.id))

    def finish(self, reason: FinishReason) -> str:
        """Return the text that was held back, because no token follows."""
        text = self._keep(self._stream.finish())
        self.finish_reason = "stop" if self._stream.stopped else reason
        return text

    def _keep(self, text: str) -> str:
        self.text += text
        return text


def stream_text(generation: Generation[Any], completions: Mapping[int, Completion]) -> Iterator[Piece]:
    """Yield the texts of all samples as they grow, and fill their completions."""
    for token in generation:
        completion = completions[token.sample]
        text = completion.push(token)
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


def logprobs_table(tokens: Sequence[Token], tokenizer: Tokenizer) -> dict[str, Any]:
    """Return log-probabilities under the field names of the OpenAI completions API.

    A token that is not valid UTF-8 by itself is named `bytes:` and its bytes as \\xNN. Offsets count
    characters of the text; the parts of a split character share the offset where it begins.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    offsets = []
    length = 0
    for token in tokens:
        offsets.append(length)
        length += len(decoder.decode(tokenizer.token_bytes(token.id)))
    return {
        "tokens": [token_text(tokenizer.token_bytes(token.id)) for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [
            {token_text(tokenizer.token_bytes(other)): logprob for other, logprob in token.top}
            for token in tokens
        ],
        "text_offset": offsets,
        "bytes": [list(tokenizer.token_bytes(token.id)) for token in tokens],
    }


def token_text(data: bytes) -> str:
    """Return the text of a token, or `bytes:` and its bytes as \\xNN where they are not valid UTF-8 alone."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
