"""The library's tokenizer, read from the files that a checkpoint stores it in."""

from __future__ import annotations

import re
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.errors import CheckpointError
from gpt2cli.text.byte_pairs import BYTE_OF_SYMBOL

if TYPE_CHECKING:
    import tokenizers

    from gpt2cli.hub.model_files import ModelFiles

BUNDLED_MERGES = Path(__file__).parents[2] / "data" / "gpt2" / "merges.txt"


def bundled_library() -> tokenizers.Tokenizer:
    """Return OpenAI's tokenizer of GPT-2."""
    from tokenizers import models

    # Built in bulk, because this takes most of the time of a short command.
    symbols = BUNDLED_MERGES.read_text("utf-8").partition("\n")[2].split()
    lefts, rights = symbols[::2], symbols[1::2]
    tokens = [*BYTE_OF_SYMBOL, *map(add, lefts, rights)]
    vocabulary = dict(zip(tokens, range(len(tokens)), strict=True))
    library = _byte_level(models.BPE(vocabulary, list(zip(lefts, rights, strict=True))))
    library.add_special_tokens([END_OF_TEXT])
    return library


def read_library(files: ModelFiles) -> tokenizers.Tokenizer:
    """Return the tokenizer in a model's files.

    Raises:
        CheckpointError: the files are missing or damaged.
    """
    import tokenizers

    paths = {path.name: path for path in files.tokenizer}
    try:
        if "tokenizer.json" in paths:
            return tokenizers.Tokenizer.from_file(str(paths["tokenizer.json"]))
        if "vocab.json" in paths and "merges.txt" in paths:
            return _from_vocabulary(paths["vocab.json"], paths["merges.txt"])
    # The library raises nothing more specific.
    except Exception as error:
        where = next(iter(paths.values())).parent
        raise CheckpointError(f"The tokenizer files in {where} cannot be read: {error}.") from error
    raise CheckpointError(
        f"{files.name} has no tokenizer.", "It needs tokenizer.json, or vocab.json and merges.txt."
    )


def _from_vocabulary(vocabulary: Path, merges: Path) -> tokenizers.Tokenizer:
    from tokenizers import models

    library = _byte_level(models.BPE.from_file(str(vocabulary), str(merges)))
    if library.token_to_id(END_OF_TEXT) is not None:
        library.add_special_tokens([END_OF_TEXT])
    return library


def _byte_level(model: tokenizers.models.BPE) -> tokenizers.Tokenizer:
    import tokenizers

    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return library


def require_byte_symbols(library: tokenizers.Tokenizer, name: str) -> None:
    """Check that a model's tokenizer is BPE with a token for every byte.

    Raises:
        CheckpointError: it is not.
    """
    kind = type(library.model).__name__
    if kind != "BPE":
        raise CheckpointError(f"The tokenizer of {name} is {kind}.", "Only byte-level BPE is supported.")
    # A byte without a symbol would silently vanish from the text.
    missing = [byte for symbol, byte in BYTE_OF_SYMBOL.items() if library.token_to_id(symbol) is None]
    if missing:
        raise CheckpointError(
            f"The tokenizer of {name} has no token for {len(missing)} of the 256 bytes.",
            "Only byte-level BPE that can spell every byte is supported.",
        )


def is_cuttable(library: tokenizers.Tokenizer) -> bool:
    """Return whether a text has the ids of its parts when it is cut between a non-space and a space."""
    from tokenizers import pre_tokenizers

    splitter = library.pre_tokenizer
    return (
        library.normalizer is None
        and isinstance(splitter, pre_tokenizers.ByteLevel)
        and splitter.use_regex
        and not splitter.add_prefix_space
        and not any(
            token.rstrip or re.search(r"\s", token.content)
            for token in library.get_added_tokens_decoder().values()
        )
    )
