"""The ids that begin and end a model's texts, of which its files may give several accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from gpt2cli.checkpoint.companions.tokenizer_config import TokenizerConfig
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT

if TYPE_CHECKING:
    from gpt2cli.text.tokenizer import Tokenizer

# transformers writes it into the config.json of every GPT-2, whatever its vocabulary.
UNCHOSEN_ID = 50256


class SpecialIds(NamedTuple):
    """A model's BOS and EOS, all ids that end a text, and what the user should know of the choice."""

    bos: int | None
    eos: int | None
    ends: tuple[int, ...]
    notes: tuple[str, ...] = ()


def choose_special_ids(config: ModelConfig, told: TokenizerConfig, tokenizer: Tokenizer) -> SpecialIds:
    """Return the ids that config.json and the tokenizer's files give.

    Where they contradict each other, the tokenizer's hold: config.json may name an ordinary word. An EOS of
    config.json that is not a word ends texts all the same.
    """
    eos_ids = config.eos_token_ids or _listed(config.eos_token_id)
    bos, bos_replaces = _choose("bos_token", _listed(config.bos_token_id), config, told, tokenizer)
    eos, eos_replaces = _choose("eos_token", eos_ids, config, told, tokenizer)
    known = [token_id for token_id in eos_ids if token_id < config.vocab_size]
    # Nobody lists several ids by mistake.
    if eos_replaces is not None and len(eos_ids) == 1 and tokenizer.is_word(eos_ids[0]):
        known = []
    ends = tuple(dict.fromkeys(([] if eos is None else [eos]) + known))
    replaced: dict[tuple[int, int], list[str]] = {}
    for name, old, new in (("bos_token_id", bos_replaces, bos), ("eos_token_id", eos_replaces, eos)):
        if old is not None and new is not None:
            replaced.setdefault((old, new), []).append(name)
    notes = (
        f"note: {' and '.join(names)} {old} ({_text(tokenizer, old)!r}) in config.json: the tokenizer has "
        f"{new} ({_text(tokenizer, new)!r}), which is used"
        for (old, new), names in replaced.items()
    )
    return SpecialIds(bos, eos, ends, tuple(notes))


def _choose(
    role: str,
    configured: Sequence[int],
    config: ModelConfig,
    told: TokenizerConfig,
    tokenizer: Tokenizer,
) -> tuple[int | None, int | None]:
    """Return the id of a role, and the id of config.json that it replaces, if any."""
    known = [token_id for token_id in configured if token_id < config.vocab_size]
    names = [told.roles[role].content] if role in told.roles else []
    if not known or (known == [UNCHOSEN_ID] and tokenizer.is_word(UNCHOSEN_ID)):
        names.append(END_OF_TEXT)
    found = [token_id for name in names if (token_id := tokenizer.find_id(name)) is not None]
    own = next((token_id for token_id in found if token_id < config.vocab_size), None)
    if own is None:
        return (known[0] if known else None), None
    return own, (known[0] if known and own not in known else None)


def _listed(token_id: int | None) -> tuple[int, ...]:
    return () if token_id is None else (token_id,)


def _text(tokenizer: Tokenizer, token_id: int) -> str:
    return tokenizer.token_bytes(token_id).decode("utf-8", "replace")
