"""How the tokens of a vocabulary spell text, read from what the parts of the library's tokenizer do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt2cli.errors import CheckpointError
from gpt2cli.text.byte_pairs import BYTE_OF_SYMBOL

if TYPE_CHECKING:
    import tokenizers

PRINTED_ASCII = bytes([*range(0x20, 0x7F), 0x0A])
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
_SUPPORTED = "Supported are BPE and WordLevel."


class Spelling(NamedTuple):
    """How tokens spell text.

    With `byte_symbols`, each character of a token is a byte, as in GPT-2; with `byte_tokens`, `<0xNN>` is a
    byte. `replaced` are strings in tokens and their text. A text begins without `dropped` spaces of its first
    token; None drops all. A token that ends in `word_end` ends a word, and a space follows unless the text
    ends; if None, tokens have their spaces.
    """

    byte_symbols: bool = False
    byte_tokens: bool = False
    replaced: tuple[tuple[str, str], ...] = ()
    dropped: int | None = 0
    word_end: str | None = None

    @property
    def byte_names(self) -> list[str]:
        """The tokens of the 256 bytes, in order; empty if bytes have none."""
        if self.byte_symbols:
            return sorted(BYTE_OF_SYMBOL, key=BYTE_OF_SYMBOL.__getitem__)
        return BYTE_TOKENS if self.byte_tokens else []

    def spell(self, token: str, is_added: bool = False) -> bytes:
        """Return the bytes of a token; with a `word_end`, these include the space that follows."""
        if self.byte_symbols:
            # A vocab.json may contain plain-text tokens that no merge makes.
            is_text = is_added or any(symbol not in BYTE_OF_SYMBOL for symbol in token)
            return token.encode() if is_text else bytes(map(BYTE_OF_SYMBOL.__getitem__, token))
        for old, new in self.replaced:
            token = token.replace(old, new)
        if self.byte_tokens and (byte := re.fullmatch("<0x([0-9A-F]{2})>", token)):
            return bytes([int(byte[1], 16)])
        if self.word_end is not None and token.endswith(self.word_end):
            token = token.removesuffix(self.word_end) + " "
        return token.encode()

    def open_decoder(self, token_bytes: Callable[[int], bytes], before: str) -> Callable[[int], bytes]:
        """Return a function from ids to the bytes that each adds to a text, which begins after `before`."""
        if self.word_end is None and (self.dropped == 0 or before):
            return token_bytes
        return _Decoder(self, token_bytes, before)


class _Decoder:
    def __init__(self, spelling: Spelling, token_bytes: Callable[[int], bytes], before: str) -> None:
        self._dropped = 0 if before else spelling.dropped
        self._separates = spelling.word_end is not None
        self._token_bytes = token_bytes
        # The space behind a word belongs to the text once a token follows.
        self._space = b" " if self._separates and before and not before[-1].isspace() else b""

    def __call__(self, token_id: int) -> bytes:
        data = self._token_bytes(token_id)
        if not data:
            return data
        if self._dropped != 0:
            data = data.lstrip(b" ") if self._dropped is None else data.removeprefix(b" ")
            self._dropped = 0
        if self._separates:
            space, self._space = self._space, b" " if data.endswith(b" ") else b""
            data = space + data.removesuffix(b" ")
        return data


GPT2_SPELLING = Spelling(byte_symbols=True)


def spelling_of(library: tokenizers.Tokenizer, name: str) -> Spelling:
    """Return how a model's tokens spell text.

    Raises:
        CheckpointError: the tokenizer is of a kind that is not supported.
    """
    kind = type(library.model).__name__
    if kind not in ("BPE", "WordLevel"):
        raise CheckpointError(f"The tokenizer of {name} is {kind}.", _SUPPORTED)
    decoders = list(steps(library.decoder))
    is_byte_level = any(step["type"] == "ByteLevel" for step in (*decoders, *steps(library.pre_tokenizer)))
    if kind == "BPE" and (is_byte_level or _has_byte_symbols(library)):
        return GPT2_SPELLING
    if decoders:
        return _decoded(decoders, name)
    if kind == "BPE":
        raise CheckpointError(
            f"The tokenizer of {name} does not say how its tokens make a text.", "It has no decoder."
        )
    # Tokens of which none is white space are words.
    splitter = library.pre_tokenizer
    pieces = splitter.pre_tokenize_str("a b") if splitter else [("a b", (0, 3))]
    return Spelling(word_end=None if any(" " in piece for piece, _ in pieces) else "")


def missing_bytes(library: tokenizers.Tokenizer, spelling: Spelling) -> bytes:
    """Return the bytes that a tokenizer which spells text as bytes has no token for."""
    names = enumerate(spelling.byte_names)
    return bytes(byte for byte, token in names if library.token_to_id(token) is None)


def require_bytes(library: tokenizers.Tokenizer, spelling: Spelling, name: str) -> None:
    """Check that a tokenizer that spells text as bytes has a token for every byte that texts are made of.

    Raises:
        CheckpointError: it does not.
    """
    missing = missing_bytes(library, spelling)
    if spelling.byte_tokens and not getattr(library.model, "byte_fallback", False):
        missing = bytes(range(len(spelling.byte_names)))
    # Some were trained on texts in which control characters and bytes that UTF-8 never has do not occur.
    if any(byte in PRINTED_ASCII for byte in missing):
        raise CheckpointError(
            f"The tokenizer of {name} has no token for {len(missing)} of the 256 bytes.",
            "It must be able to spell all of ASCII.",
        )


def steps(part: Any) -> Iterator[dict[str, Any]]:
    """Yield the descriptions of the steps of a normalizer, a pre-tokenizer or a decoder."""
    if part is not None:
        yield from _flattened(json.loads(part.__getstate__()))


def _flattened(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("normalizers", "pretokenizers", "decoders"):
        if name in step:
            for inner in step[name]:
                yield from _flattened(inner)
            return
    yield step


def _has_byte_symbols(library: tokenizers.Tokenizer) -> bool:
    return all(library.token_to_id(symbol) is not None for symbol in BYTE_OF_SYMBOL)


def _decoded(decoders: list[dict[str, Any]], name: str) -> Spelling:
    spelling = Spelling()
    for step in decoders:
        match step:
            case {"type": "Fuse"}:
                pass
            case {"type": "ByteFallback"}:
                spelling = spelling._replace(byte_tokens=True)
            case {"type": "Replace", "pattern": {"String": old}, "content": new}:
                spelling = spelling._replace(replaced=(*spelling.replaced, (old, new)))
            case {"type": "Strip", "content": " ", "start": 0 | 1 as count, "stop": 0}:
                spelling = spelling._replace(dropped=count)
            case {"type": "Metaspace", "replacement": symbol, "prepend_scheme": scheme}:
                dropped = 0 if scheme == "never" else None
                spelling = spelling._replace(replaced=(*spelling.replaced, (symbol, " ")), dropped=dropped)
            case {"type": "BPEDecoder", "suffix": suffix}:
                spelling = spelling._replace(word_end=suffix)
            case _:
                raise CheckpointError(
                    f"The tokenizer of {name} makes a text of its tokens by {step['type']}, "
                    "which is not supported."
                )
    return spelling
