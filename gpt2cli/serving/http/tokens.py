"""`/tokenize`, `/detokenize` and `/tokenizer_info`, as vLLM has them and lm-eval asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpt2cli.errors import shown
from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.protocol import RequestError


def tokenize(loaded: LoadedModel, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ids of a text; special tokens in it are parsed.

    Raises:
        RequestError: a field is unknown, missing or of another type.
        InputError: the text is not Unicode.
    """
    _require_known(fields, ("model", "prompt", "add_special_tokens"))
    text, with_leading = fields.get("prompt"), fields.get("add_special_tokens", True)
    if not isinstance(text, str):
        raise RequestError("prompt must be a text.", "prompt", "invalid_type")
    if not isinstance(with_leading, bool):
        raise RequestError("add_special_tokens must be true or false.", "add_special_tokens", "invalid_type")
    tokenizer = loaded.tokenizer
    ids = [*(tokenizer.leading_ids if with_leading else ()), *tokenizer.encode(text, special=True)]
    return {"count": len(ids), "max_model_len": loaded.model.config.n_positions, "tokens": ids}


def detokenize(loaded: LoadedModel, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the text of ids; bytes that are not UTF-8 become U+FFFD.

    Raises:
        RequestError: a field is unknown, missing or of another type, or an id is not the tokenizer's.
    """
    _require_known(fields, ("model", "tokens"))
    ids = fields.get("tokens")
    if not isinstance(ids, list) or not all(isinstance(x, int) and not isinstance(x, bool) for x in ids):
        raise RequestError("tokens must be a list of token ids.", "tokens", "invalid_type")
    for token_id in ids:
        if not 0 <= token_id < loaded.tokenizer.id_limit:
            raise RequestError(f"The model has no token {token_id}.", "tokens")
    return {"prompt": loaded.tokenizer.decode(ids).decode("utf-8", "replace")}


def tokenizer_info(loaded: LoadedModel) -> dict[str, Any]:
    """Return what the special tokens are called."""
    tokenizer = loaded.tokenizer
    names = {
        name: None if token_id is None else tokenizer.token_bytes(token_id).decode("utf-8", "replace")
        for name, token_id in (("bos_token", tokenizer.bos_id), ("eos_token", tokenizer.eos_id))
    }
    return {**names, "special_tokens": list(tokenizer.special_tokens), "vocab_size": tokenizer.id_limit}


def _require_known(fields: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for name in fields:
        if name not in known:
            raise RequestError(f"There is no field {shown(name)}.", name, "unknown_parameter")
