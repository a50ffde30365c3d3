"""Text to ids, and ids to bytes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from gpt2cli.checkpoint.companions.tokenizer_config import TokenizerConfig
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.errors import CheckpointError, InputError
from gpt2cli.text.byte_pairs import BytePairs
from gpt2cli.text.stored.library import has_long_runs, is_cuttable, leading_ids
from gpt2cli.text.stored.panics import Reading, reading_of
from gpt2cli.text.stored.prefix_space import adding_no_space, adds_space
from gpt2cli.text.stored.special_ids import choose_special_ids
from gpt2cli.text.stored.spelling import GPT2_SPELLING, Spelling, missing_bytes
from gpt2cli.text.stored.unknown import checked_ids, first_unknown, library_ids
from gpt2cli.text.streaming.text_blocks import require_unicode, text_parts

if TYPE_CHECKING:
    import tokenizers

    from gpt2cli.text.fast_encoder import FastEncoder
    from gpt2cli.text.stored.long_runs import LongRuns

# The library's time and memory grow faster than the length of the text in one call.
_PART_LENGTH = 16_384
# After this many characters, of which an id counts as _ID_LENGTH, the library has made up for its start.
_BYTE_PAIRS_LENGTH = 8_192
_ID_LENGTH = 32


class Tokenizer:
    """A tokenizer; `bos_id` and `eos_id` are None if the model has no such token.

    `end_ids` are all that end a text, `eos_id` among them. `notes` are for the user: how the ids were chosen
    where the model's files contradict each other. `spelling` is how its tokens spell text. The library, or a
    function that opens it, does what `byte_pairs` cannot.
    """

    def __init__(
        self,
        library: tokenizers.Tokenizer | Callable[[], tokenizers.Tokenizer],
        config: ModelConfig,
        byte_pairs: BytePairs | None = None,
        told: TokenizerConfig | None = None,
        spelling: Spelling = GPT2_SPELLING,
    ) -> None:
        self._source = library
        self.spelling = spelling
        # Without tokens for the bytes, a vocabulary cannot spell every text.
        self._spells_all = bool(spelling.byte_names)
        self._byte_pairs = byte_pairs
        self._byte_pairs_length = 0
        self._spelled: dict[int, bytes] = {}
        self._model_size = config.vocab_size
        self.told = told or TokenizerConfig()
        self.bos_id, self.eos_id, self.end_ids, self.notes = choose_special_ids(config, self.told, self)

    @cached_property
    def vocab_size(self) -> int:
        """Return the number of the tokenizer's tokens, which may differ from the model's."""
        return self._library.get_vocab_size()

    @cached_property
    def id_limit(self) -> int:
        """Return the exclusive upper limit of ids."""
        return max(self.vocab_size, self._model_size)

    @cached_property
    def cuttable(self) -> bool:
        """Return whether a text has the ids of its parts when it is cut between a non-space and a space."""
        return self.spelling.byte_symbols and is_cuttable(self._library)

    @cached_property
    def keeps_every_byte(self) -> bool:
        """Return whether the bytes of a text's tokens are those of the text, whatever follows it."""
        return self.cuttable and has_long_runs(self._library)

    @cached_property
    def has_own_tokens(self) -> bool:
        """Return whether added tokens split text even when special tokens are plain text."""
        return not all(token.special for token in self._added.values())

    @cached_property
    def special_tokens(self) -> tuple[str, ...]:
        """Return the texts of the special tokens."""
        if self._byte_pairs:
            return self._byte_pairs.special_tokens
        return tuple(token.content for token in self._added.values() if token.special)

    @cached_property
    def adds_space(self) -> bool:
        """Return whether a text that begins with something else gets a space in front."""
        return self._byte_pairs is None and adds_space(self._library)

    @cached_property
    def leading_ids(self) -> Sequence[int]:
        """Return the ids of the special tokens that belong before a text."""
        return self._byte_pairs.leading_ids if self._byte_pairs else leading_ids(self._library)

    def encode(self, text: str, special: bool = False, continues: bool = False) -> list[int]:
        """Return the ids of text; special tokens in it are plain text unless `special` is true.

        A text that continues another gets no space in front, whatever the tokenizer does with other texts.

        Raises:
            InputError: the text contains a lone surrogate, so it is not valid Unicode, or a byte without a
                token.
            CheckpointError: the tokenizer produced an id that the model does not have.
        """
        require_unicode(text)
        byte_pairs = self._byte_pairs_for(len(text))
        ids = byte_pairs.encode(text, special) if byte_pairs else None
        if ids is None:
            ids = self._encode_by_library(text, special, continues)
        if (largest := max(ids, default=0)) >= self._model_size:
            raise CheckpointError(
                f"The tokenizer produced id {largest}, but the model has only {self._model_size} tokens.",
                "Its tokenizer files and config.json do not belong together.",
            )
        return ids

    def places(self, text: str, special: bool = False) -> list[tuple[int, int]]:
        """Return where in a text each of its tokens stands, in characters: the start and the end."""
        with self._reading(special):
            return list(self._library.encode(text, add_special_tokens=False).offsets)

    def first_unknown(self, text: str, special: bool = False) -> str | None:
        """Return the first part of a text that the vocabulary can only call unknown, or None."""
        if self._spells_all:
            return None
        with self._reading(special):
            return first_unknown(self._library, text)

    def open_fast_encoder(
        self, slow: Callable[[str], array[int]], special: bool = False, keeps_bytes: bool = False
    ) -> FastEncoder | None:
        """Return an encoder that starts more slowly but is much faster than `slow`, if there is one.

        With `keeps_bytes`, lone surrogates stand for bytes that are not UTF-8.
        """
        if not self._reads_all:
            return None
        from gpt2cli.text.fast_encoder import open_encoder

        return open_encoder(self._library, slow, special, self._byte_ids if keeps_bytes else {})

    def open_long_runs(self, encode: Callable[[str], array[int]], special: bool) -> LongRuns | None:
        """Return an encoder of text without a place to cut, if there is one; `encode` is for short parts."""
        if not self._reads_all or not self.keeps_every_byte:
            return None
        from gpt2cli.text.stored.long_runs import LongRuns

        added = {token.content: key for key, token in self._added.items() if special or not token.special}
        return LongRuns(self._library, encode, added)

    def byte_id(self, byte: int) -> int:
        """Return the id of a byte as a token.

        Raises:
            InputError: it has none.
        """
        if not self.spelling.byte_names:
            raise InputError("This tokenizer has no tokens for single bytes.")
        self._require_tokens_for(bytes([byte]))
        return self._byte_ids[byte]

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes of an id, which may not be valid UTF-8 on their own.

        Ids that only the model has are padding of the embedding and have no bytes.

        Raises:
            InputError: neither the tokenizer nor the model has the id.
        """
        spelled = self._spelled.get(token_id)
        if spelled is None:
            spelled = self._spelled[token_id] = self._spell(token_id)
        return spelled

    def decode(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of the text that ids make.

        Raises:
            InputError: an id is out of range.
        """
        return b"".join(map(self.open_decoder(), ids))

    def open_decoder(self, before: str = "") -> Callable[[int], bytes]:
        """Return a function from ids, in order, to the bytes that each adds to a text that goes on `before`.

        They differ from `token_bytes` at the ends of texts, where some tokenizers put no space.
        """
        return self.spelling.open_decoder(self.token_bytes, before)

    def begins_word(self, token_id: int) -> bool:
        """Return whether an id begins a word, where words are separated by white space.

        Where tokens say that a word ends, and not that one begins, any id may begin a word.
        """
        return self.spelling.word_end is not None or self.token_bytes(token_id)[:1].isspace()

    def find_id(self, token: str) -> int | None:
        """Return the id of a token, spelled as in the vocabulary, or None if there is none."""
        token_id = self._byte_pairs.find_id(token) if self._byte_pairs else None
        return self._library.token_to_id(token) if token_id is None else token_id

    def is_word(self, token_id: int) -> bool:
        """Return whether an id stands for a byte or what merges make of bytes."""
        is_word = self._byte_pairs.is_word(token_id) if self._byte_pairs else None
        if is_word is not None:
            return is_word
        token = self._library.id_to_token(token_id)
        if token is None or token_id in self._added:
            return False
        if not self.spelling.byte_symbols:
            return True
        return len(self._library.model.tokenize(token)) == 1

    def token_of(self, token_id: int) -> str:
        """Return the token with an id, spelled as in the vocabulary."""
        return self._library.id_to_token(token_id) or ""

    def to_json(self) -> str:
        """Return this tokenizer as a tokenizer.json, whichever files it was read from."""
        # Only saving needs it.
        from gpt2cli.text.stored.library import with_decoder

        return with_decoder(self._library).to_str() if self.spelling.byte_symbols else self._library.to_str()

    @cached_property
    def _library(self) -> tokenizers.Tokenizer:
        return self._source() if callable(self._source) else self._source

    @cached_property
    def _reading(self) -> Reading:
        return reading_of(self._library)

    @cached_property
    def _added(self) -> dict[int, tokenizers.AddedToken]:
        return self._library.get_added_tokens_decoder()

    def _byte_pairs_for(self, length: int) -> BytePairs | None:
        """Return the byte pairs for `length` more characters, or None once the total is too long for them."""
        self._byte_pairs_length += length
        if self._byte_pairs_length > _BYTE_PAIRS_LENGTH:
            self._byte_pairs = None
        return self._byte_pairs

    @cached_property
    def _reads_all(self) -> bool:
        """Return whether every text can be cut into blocks and has ids, all of which the model has."""
        ids = self._library.get_vocab().values()
        return self.cuttable and not self._missing and max(ids) < self._model_size

    @cached_property
    def _byte_ids(self) -> dict[int, int]:
        vocabulary = self._library.get_vocab(with_added_tokens=False)
        names = enumerate(self.spelling.byte_names)
        return {byte: vocabulary[name] for byte, name in names if name in vocabulary}

    @cached_property
    def _missing(self) -> bytes:
        return missing_bytes(self._library, self.spelling)

    def _require_tokens_for(self, data: bytes) -> None:
        # The library would drop them without a word.
        for byte in self._missing:
            if byte in data:
                raise InputError(f"The tokenizer of this model has no token for the byte 0x{byte:02x}.")

    def _encode_by_library(self, text: str, special: bool, continues: bool) -> list[int]:
        if self._missing:
            self._require_tokens_for(text.encode())
        with self._reading(special):
            if continues and self.adds_space:
                with adding_no_space(self._library):
                    return self._library_ids(text)
            parts = text_parts(text, _PART_LENGTH) if self.cuttable else [text]
            return [token_id for part in parts for token_id in self._library_ids(part)]

    def _library_ids(self, text: str) -> list[int]:
        return (library_ids if self._spells_all else checked_ids)(self._library, text)

    def _spell(self, token_id: int) -> bytes:
        byte_pairs = self._byte_pairs_for(_ID_LENGTH)
        spelled = byte_pairs.token_bytes(token_id) if byte_pairs else None
        return self._spell_by_library(token_id) if spelled is None else spelled

    def _spell_by_library(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self.spelling.spell(self._added[token_id].content, is_added=True)
        if not 0 <= token_id < self.id_limit:
            raise InputError(f"There is no token {token_id}. Ids range from 0 to {self.id_limit - 1}.")
        token = self._library.id_to_token(token_id)
        return b"" if token is None else self.spelling.spell(token)
