"""The files that store a model's tokenizer, for this tool and for transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gpt2cli.checkpoint.companions.tokenizer_config import (
    ADDED_TOKENS_DECODER,
    EXTRAS,
    GPT2_CLASSES,
    ROLES,
    TOKENIZER_CONFIG,
)
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.text.stored.library import TOKENIZER_JSON

if TYPE_CHECKING:
    from gpt2cli.text.tokenizer import Tokenizer

# tokenizer.json has the tokens; the others name files that are not saved.
_LEFT_OUT = (ADDED_TOKENS_DECODER, "auto_map", "name_or_path", "tokenizer_file", "special_tokens_map_file")
ANY_KIND = "PreTrainedTokenizerFast"
# What transformers takes END_OF_TEXT for, which it adds to a vocabulary that lacks it.
_IMPLIED = ("bos_token", "eos_token", "unk_token")


def tokenizer_files(tokenizer: Tokenizer, config: ModelConfig) -> dict[str, str]:
    """Return the text of each file that stores the tokenizer of a model, by name.

    They give BOS and EOS the ids of the config, the other special tokens those of the tokenizer, and no
    token an id that the model lacks.
    """
    return {
        TOKENIZER_JSON: _without_ids_beyond(tokenizer.to_json(), config.vocab_size),
        TOKENIZER_CONFIG: json.dumps(_settings(tokenizer, config), indent=2) + "\n",
    }


def _settings(tokenizer: Tokenizer, config: ModelConfig) -> dict[str, Any]:
    told = tokenizer.told
    splits_as_gpt2 = tokenizer.cuttable or (tokenizer.spelling.byte_symbols and tokenizer.adds_space)
    values = {key: value for key, value in told.values.items() if key not in _LEFT_OUT}
    # The class of a family may take no more than the vocabulary from tokenizer.json.
    values.setdefault("tokenizer_class", config.architecture.tokenizer_class if splits_as_gpt2 else ANY_KIND)
    if splits_as_gpt2:
        values["add_prefix_space"] = tokenizer.adds_space
    for key in EXTRAS:
        if isinstance(extras := values.get(key), list):
            values[key] = [_marked(entry) for entry in extras if _fits(tokenizer, config, _content(entry))]
    for role in told.roles:
        values[role] = _marked(values[role])
    return values | dict(_roles(tokenizer, config))


def _roles(tokenizer: Tokenizer, config: ModelConfig) -> Iterator[tuple[str, Any]]:
    """Yield the special tokens to name, besides those that are named already and the model has."""
    told = tokenizer.told
    ids = {"bos_token": config.bos_token_id, "eos_token": config.eos_token_id}
    is_gpt2 = told.values.get("tokenizer_class") in GPT2_CLASSES
    end_of_text = tokenizer.find_id(END_OF_TEXT) if _fits(tokenizer, config, END_OF_TEXT) else None
    for role in ROLES:
        given = told.roles.get(role)
        token_id = ids.get(role)
        given_id = tokenizer.find_id(given.content) if given else None
        if given_id is not None and given_id < config.vocab_size and token_id in (None, given_id):
            continue
        if given or (role in _IMPLIED and is_gpt2 and end_of_text is None):
            yield role, None if token_id is None else tokenizer.token_of(token_id)
        elif role in _IMPLIED and is_gpt2 and token_id in (None, end_of_text):
            yield role, END_OF_TEXT


def _fits(tokenizer: Tokenizer, config: ModelConfig, content: str) -> bool:
    token_id = tokenizer.find_id(content)
    return token_id is not None and token_id < config.vocab_size


def _marked(entry: Any) -> Any:
    # special_tokens_map.json has no such mark.
    return {"__type": "AddedToken", **entry} if isinstance(entry, dict) else entry


def _content(entry: Any) -> str:
    return str(entry["content"] if isinstance(entry, dict) else entry)


def _without_ids_beyond(tokenizer_json: str, limit: int) -> str:
    description = json.loads(tokenizer_json)
    added = description["added_tokens"]
    if all(token["id"] < limit for token in added):
        return tokenizer_json
    description["added_tokens"] = [token for token in added if token["id"] < limit]
    vocabulary = description["model"]["vocab"]
    for token in added:
        if token["id"] >= limit:
            vocabulary.pop(token["content"], None)
    return json.dumps(description, ensure_ascii=False)
