"""The models known by a short name, and those that no one can download."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MIT, APACHE = "MIT", "Apache-2.0"


class KnownModel(NamedTuple):
    """A model on the Hub that users can ask for by a short name.

    `license` is None where its model card decides. `shares_merges` means that its tokenizer is the bundled
    one, OpenAI's of GPT-2.
    """

    name: str
    repo: str
    license: str | None
    aliases: tuple[str, ...] = ()
    shares_merges: bool = False


def _series(repo: str, terms: str | None, *sizes: str) -> Iterator[KnownModel]:
    """Yield the sizes of a model, whose repositories end in them; the names are these, in lower case."""
    for size in sizes:
        name = f"{repo}-{size}"
        yield KnownModel(name.partition("/")[2].lower(), name, terms)


KNOWN_MODELS = (
    KnownModel("gpt2", "openai-community/gpt2", MIT, ("124M", "117M", "small", "gpt2-small", "gpt-2"), True),
    KnownModel("gpt2-medium", "openai-community/gpt2-medium", MIT, ("355M", "345M", "medium"), True),
    KnownModel("gpt2-large", "openai-community/gpt2-large", MIT, ("774M", "762M", "large"), True),
    KnownModel("gpt2-xl", "openai-community/gpt2-xl", MIT, ("1558M", "1.5B", "1542M", "xl"), True),
    KnownModel("distilgpt2", "distilbert/distilgpt2", APACHE, ("82M", "distil"), True),
    KnownModel("openai-gpt", "openai-community/openai-gpt", MIT, ("gpt1", "gpt-1")),
    *_series("EleutherAI/gpt-neo", MIT, "125m", "1.3B", "2.7B"),
    KnownModel("gpt-neox-20b", "EleutherAI/gpt-neox-20b", APACHE),
    *_series("EleutherAI/pythia", APACHE, "14m", "31m", "70m", "160m", "410m"),
    *_series("EleutherAI/pythia", APACHE, "1b", "1.4b", "2.8b", "6.9b", "12b"),
    *_series("cerebras/Cerebras-GPT", APACHE, "111M", "256M", "590M", "1.3B", "2.7B", "6.7B", "13B"),
    # OPT-350m has norms in other places.
    *_series("facebook/opt", None, "125m", "1.3b", "2.7b", "6.7b", "13b", "30b", "66b"),
    *_series("microsoft/DialoGPT", MIT, "small", "medium", "large"),
    *_series("HuggingFaceTB/SmolLM2", APACHE, "135M", "360M", "1.7B"),
    KnownModel("tinyllama", "TinyLlama/TinyLlama_v1.1", APACHE),
)
BUNDLED_MODEL = "stories"
# One small model of each family, for hints.
EXAMPLES = (BUNDLED_MODEL, "gpt2", "openai-gpt", "gpt-neo-125m", "pythia-160m", "smollm2-135m")
# What OpenAI serves and does not publish. Its gpt-oss is open.
CLOSED = (
    r"(openai/)?(gpt-?[3-9][^/]*|(chat|instruct)gpt[^/]*|"
    r"((text|code)-)?(davinci|curie|babbage|ada|cushman)(-[^/]*)?|o[1-9](-(mini|pro|preview)[^/]*)?)"
)


def known_model(name: str) -> KnownModel | None:
    """Return the known model with this name, alias or repository id, in any case, or None."""
    wanted = name.lower()
    for model in KNOWN_MODELS:
        names = {model.name, model.repo, *model.aliases}
        if wanted in {candidate.lower() for candidate in names}:
            return model
    return None


def shares_merges(name: str) -> bool:
    """Return whether the bundled tokenizer is that of the model with this name."""
    known = known_model(name)
    return known is not None and known.shares_merges


def is_closed(name: str) -> bool:
    """Return whether a name means a model whose weights are not published."""
    return re.fullmatch(CLOSED, name, re.IGNORECASE) is not None
