"""A text that is looked into: one that a model reads at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpt2cli.errors import UsageError
from gpt2cli.inspection.settings import PassageSettings
from gpt2cli.model.loading import LoadedModel
from gpt2cli.scoring.windows import require_bos
from gpt2cli.text.token_text import token_text


@dataclass(frozen=True, eq=False, repr=False)
class Passage:
    """The ids that a model reads, BOS among them if `has_bos`, and the text of each."""

    ids: Sequence[int]
    texts: Sequence[str]
    has_bos: bool

    def index(self, place: int) -> int:
        """Return the number of the token at a place of `ids`, from 1; BOS is 0."""
        return place + 1 - self.has_bos


def read_passage(loaded: LoadedModel, text: str, settings: PassageSettings) -> Passage:
    """Return the ids of a text.

    Raises:
        UsageError: the text does not fit the context, it is empty, or the model has no BOS token.
        InputError: the text is not Unicode.
    """
    tokenizer, context = loaded.tokenizer, loaded.model.config.n_positions
    prefix = [require_bos(tokenizer.bos_id)] if settings.bos else []
    ids = [*prefix, *tokenizer.encode(text, settings.special)]
    if len(ids) == len(prefix):
        raise UsageError("The text is empty.")
    if len(ids) > context:
        kind = " with BOS" if prefix else ""
        raise UsageError(
            f"The text has {len(ids):,} tokens{kind} and the model's context holds {context:,}.",
            "Shorten it: the model reads the text at once.",
        )
    return Passage(ids, [token_text(tokenizer.token_bytes(token)) for token in ids], bool(prefix))
