"""Open a model's tokenizer from its files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpt2cli.checkpoint.companions.tokenizer_config import read_tokenizer_config
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.errors import CheckpointError
from gpt2cli.text.byte_pairs import open_byte_pairs
from gpt2cli.text.stored.library import bundled_library, read_library
from gpt2cli.text.stored.spelling import require_bytes, spelling_of
from gpt2cli.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gpt2cli.hub.model_files import ModelFiles

BUNDLED_VOCAB_SIZE = 50257


def bundled_tokenizer() -> Tokenizer:
    """Return OpenAI's GPT-2 tokenizer, which needs no model."""
    return Tokenizer(bundled_library(), ModelConfig(vocab_size=BUNDLED_VOCAB_SIZE))


def load_tokenizer(files: ModelFiles, config: ModelConfig) -> Tokenizer:
    """Return a model's tokenizer, from tokenizer.json, vocab.json with merges.txt, or the bundled merges.

    Raises:
        CheckpointError: the files are missing, damaged or of a kind that is not supported.
    """
    if not files.tokenizer and config.vocab_size == BUNDLED_VOCAB_SIZE:
        return Tokenizer(bundled_library(), config)
    paths = {path.name: path for path in files.tokenizer}
    told = read_tokenizer_config(paths)
    if "tokenizer.json" in paths and (byte_pairs := open_byte_pairs(paths["tokenizer.json"], told)):
        return Tokenizer(lambda: read_library(files, told, config.vocab_size), config, byte_pairs, told)
    library = read_library(files, told, config.vocab_size)
    spelling = spelling_of(library, files.name)
    require_bytes(library, spelling, files.name)
    tokenizer = Tokenizer(library, config, told=told, spelling=spelling)
    if spelling.byte_symbols and tokenizer.decode(tokenizer.encode(" é")) != " é".encode():
        raise CheckpointError(f"The tokenizer of {files.name} does not work on bytes like GPT-2's.")
    return tokenizer
