"""What `gpt2 train` learns from: its texts and the tokenizer that turns them into ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.cli.input.text import STDIN, read_text, require_stdin, source_name
from gpt2cli.errors import InputError

if TYPE_CHECKING:
    from gpt2cli.text.tokenizer import Tokenizer
    from gpt2cli.training.data.documents import Ids

JSON_SUFFIXES = (".jsonl", ".ndjson")
BYTES_PER_TOKEN = 4


class TrainingTexts:
    """Hold documents as text, or rows of ids where token files were given."""

    def __init__(
        self, sources: Sequence[str], document: Literal["marker", "file"], field: str | None
    ) -> None:
        """Read all sources.

        Raises:
            UsageError: there are none, and standard input is a terminal.
            InputError: a source is empty, cannot be read, or is not of its kind.
        """
        if not sources:
            require_stdin("Name a TEXT, or pipe text in.")
        self.names = [source_name(source) for source in sources or [STDIN]]
        self.documents: list[str] = []
        self.rows: list[Ids] = []
        for source in sources or [STDIN]:
            self._read(source, document, field)
        self.text_bytes = sum(len(text.encode()) for text in self.documents)
        self.text_bytes += BYTES_PER_TOKEN * sum(row.size for row in self.rows)

    def encode(self, tokenizer: Tokenizer, vocab_size: int) -> Ids:
        """Return all documents as one row of ids.

        Raises:
            InputError, CheckpointError: the ids do not fit the model.
        """
        from gpt2cli.training.data.documents import join_documents

        parts: list[Ids | list[int]] = [*self.rows]
        parts += [tokenizer.encode(text) for text in self.documents]
        return join_documents(parts, tokenizer.eos_id, vocab_size)

    def _read(self, source: str, document: Literal["marker", "file"], field: str | None) -> None:
        from gpt2cli.training.data.documents import (
            TOKEN_SUFFIXES,
            parse_json_lines,
            read_token_file,
            split_documents,
        )

        suffix = Path(source).suffix
        if suffix in TOKEN_SUFFIXES:
            self.rows.append(read_token_file(Path(source)))
            return
        name = source_name(source)
        if suffix == ".bin":
            raise InputError(f"{name} may hold ids of any size.", f"Name it {' or '.join(TOKEN_SUFFIXES)}.")
        text = read_text(source)
        if not text.strip():
            raise InputError(f"{name} holds no text." if text else f"{name} is empty.")
        if field is not None or suffix in JSON_SUFFIXES:
            self.documents += parse_json_lines(text, field or "text", name)
        elif document == "file":
            self.documents.append(text)
        else:
            self.documents += split_documents(text)


def learn_tokenizer(texts: TrainingTexts, vocab_size: int | None) -> Tokenizer:
    """Return a tokenizer made for the texts, or GPT-2's where token files were made by it already."""
    from gpt2cli.text.bpe_training import suitable_vocab_size, train_tokenizer
    from gpt2cli.text.tokenizer import Tokenizer, bundled_tokenizer

    if texts.rows:
        return bundled_tokenizer()
    library = train_tokenizer(texts.documents, vocab_size or suitable_vocab_size(texts.text_bytes))
    return Tokenizer(library, ModelConfig(vocab_size=library.get_vocab_size()))
