"""The models known by a short name."""

from __future__ import annotations

from typing import NamedTuple


class KnownModel(NamedTuple):
    """A model on the Hub that users can ask for by a short name."""

    name: str
    repo: str
    aliases: tuple[str, ...]
    download_bytes: int


KNOWN_MODELS = (
    KnownModel("gpt2", "openai-community/gpt2", ("124M", "117M", "small", "gpt2-small"), 548_105_171),
    KnownModel("gpt2-medium", "openai-community/gpt2-medium", ("355M", "345M", "medium"), 1_519_984_962),
    KnownModel("gpt2-large", "openai-community/gpt2-large", ("774M", "762M", "large"), 3_247_159_078),
    KnownModel("gpt2-xl", "openai-community/gpt2-xl", ("1558M", "1.5B", "1542M", "xl"), 6_431_829_964),
    KnownModel("distilgpt2", "distilbert/distilgpt2", ("82M", "distil"), 352_824_413),
)
BUNDLED_MODEL = "stories"


def known_model(name: str) -> KnownModel | None:
    """Return the known model with this name, alias or repository id, in any case, or None."""
    wanted = name.lower()
    for model in KNOWN_MODELS:
        names = {model.name, model.repo, *model.aliases}
        if wanted in {candidate.lower() for candidate in names}:
            return model
    return None
