"""What the files beside a vocabulary say of its tokenizer: added and special tokens, spaces, BOS and EOS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpt2cli.checkpoint.config import read_json_object
from gpt2cli.errors import CheckpointError, shown

TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
ADDED_TOKENS = "added_tokens.json"
FILES = (TOKENIZER_CONFIG, ADDED_TOKENS, SPECIAL_TOKENS_MAP)

ADDED_TOKENS_DECODER = "added_tokens_decoder"
# In the order in which transformers gives ids to those that have none.
ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
EXTRAS = ("extra_special_tokens", "additional_special_tokens")
FLAGS = ("special", "lstrip", "rstrip", "single_word", "normalized")
# The classes that split a text as tokenizer_config.json says, not as tokenizer.json does.
GPT2_CLASSES = (None, "GPT2Tokenizer", "GPT2TokenizerFast")


class AddedToken(NamedTuple):
    """A token that is found in a text before it is split; the vocabulary has the id if it is None."""

    content: str
    id: int | None = None
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool = False


class TokenizerConfig:
    """The content of tokenizer_config.json, special_tokens_map.json and added_tokens.json, as far as there.

    `values` is tokenizer_config.json with what special_tokens_map.json puts in its place. `added` tokens have
    ids. `roles` are the special tokens by role, such as `eos_token`; `extras` are those without a role.
    """

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        added: Sequence[AddedToken] = (),
        roles: Mapping[str, AddedToken] | None = None,
        extras: Sequence[AddedToken] = (),
        is_there: bool = False,
    ) -> None:
        self.values = values or {}
        self.added = added
        self.roles = roles or {}
        self.extras = extras
        self._is_there = is_there

    @property
    def prefix_space(self) -> bool | None:
        """Whether texts get a space in front; None leaves that to tokenizer.json."""
        if not self._is_there or self.values.get("tokenizer_class") not in GPT2_CLASSES:
            return None
        return bool(self.values.get("add_prefix_space"))

    @property
    def tokens(self) -> Iterator[AddedToken]:
        """All tokens, those with ids first."""
        yield from self.added
        yield from self.roles.values()
        yield from self.extras

    def adds(self, role: str) -> bool:
        """Return whether each text gets the token of a role, which only counts without a tokenizer.json."""
        return bool(self.values.get(f"add_{role}"))


def read_tokenizer_config(paths: Mapping[str, Path]) -> TokenizerConfig:
    """Return what a tokenizer's files say, by their names; each may be missing.

    As in transformers, `added_tokens_decoder` takes the place of the older special_tokens_map.json and
    added_tokens.json.

    Raises:
        CheckpointError: a file is damaged.
    """
    values = read_json_object(paths[TOKENIZER_CONFIG]) if TOKENIZER_CONFIG in paths else {}
    decoder = values.get(ADDED_TOKENS_DECODER)
    source = TOKENIZER_CONFIG
    added: list[AddedToken] = []
    if decoder is not None:
        entries = decoder.items() if isinstance(decoder, dict) else [("", decoder)]
        added = [_token(entry, _id(key, source), source) for key, entry in entries]
    else:
        if SPECIAL_TOKENS_MAP in paths:
            source = SPECIAL_TOKENS_MAP
            values = values | read_json_object(paths[SPECIAL_TOKENS_MAP])
        if ADDED_TOKENS in paths:
            listed = read_json_object(paths[ADDED_TOKENS])
            added = [AddedToken(content, _id(value, ADDED_TOKENS)) for content, value in listed.items()]
    roles = {role: _special(values[role], source) for role in ROLES if values.get(role)}
    extras = tuple(_special(entry, source) for entry in _extras(values))
    special = {token.content for token in (*roles.values(), *extras)}
    return TokenizerConfig(
        values,
        tuple(sorted((_marked(token, special) for token in added), key=lambda token: token.id or 0)),
        roles,
        extras,
        TOKENIZER_CONFIG in paths,
    )


def _extras(values: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in values.items():
        if name in EXTRAS:
            yield from value.values() if isinstance(value, dict) else value or ()
        elif name.endswith("_token") and name not in ROLES and isinstance(value, str | dict):
            yield value


def _special(entry: Any, source: str) -> AddedToken:
    return _marked(_token(entry, None, source), None)


def _marked(token: AddedToken, special: set[str] | None) -> AddedToken:
    if special is not None and token.content not in special:
        return token
    return token._replace(special=True)


def _token(entry: Any, token_id: int | None, source: str) -> AddedToken:
    values = {"content": entry} if isinstance(entry, str) else entry
    content = values.get("content") if isinstance(values, dict) else None
    if not isinstance(content, str) or not content:
        raise CheckpointError(f"{source} has {shown(entry)} where a token must be.")
    flags = {name: bool(value) for name, value in values.items() if name in FLAGS}
    return AddedToken(content, token_id, **flags)


def _id(value: Any, source: str) -> int:
    try:
        token_id = int(value) if isinstance(value, str | int) else -1
    except ValueError:
        token_id = -1
    if token_id < 0:
        raise CheckpointError(f"{source} has {shown(value)} where a token id must be.")
    return token_id
