"""The texts to train on, and the tokenizer made for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.errors import InputError
from gpt2cli.training.data.sources import Sources

if TYPE_CHECKING:
    from gpt2cli.text.tokenizer import Tokenizer
    from gpt2cli.training.data.documents import Ids

JSON_SUFFIXES = (".jsonl", ".ndjson")
BYTES_PER_TOKEN = 4


class TrainingTexts:
    """Documents as text, and rows of ids from token files."""

    def __init__(
        self,
        names: Sequence[str],
        document: Literal["marker", "file"],
        field: str | None,
        sources: Sources | None = None,
    ) -> None:
        """Read all texts, from files unless other sources are given.

        Raises:
            InputError: a text is empty, cannot be read, or is not in the format that its name promises.
        """
        self._sources = sources or Sources()
        self.names = [self._sources.title(name) for name in names]
        self.documents: list[str] = []
        self.rows: list[Ids] = []
        for name in names:
            self._read(name, document, field)
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
        name = self._sources.title(source)
        if suffix == ".bin":
            raise InputError(f"{name} may hold ids of any size.", f"Name it {' or '.join(TOKEN_SUFFIXES)}.")
        text = self._sources.read(source)
        if not text.strip():
            raise InputError(f"{name} holds no text." if text else f"{name} is empty.")
        if field is not None or suffix in JSON_SUFFIXES:
            self.documents += parse_json_lines(text, field or "text", name)
        elif document == "file":
            self.documents.append(text)
        else:
            self.documents += split_documents(text)


def learn_tokenizer(texts: TrainingTexts, vocab_size: int | None) -> Tokenizer:
    """Return a tokenizer trained on the texts, or GPT-2's if there are token files."""
    from gpt2cli.text.bpe_training import suitable_vocab_size, train_tokenizer
    from gpt2cli.text.tokenizer import Tokenizer, bundled_tokenizer

    if texts.rows:
        return bundled_tokenizer()
    library = train_tokenizer(texts.documents, vocab_size or suitable_vocab_size(texts.text_bytes))
    return Tokenizer(library, ModelConfig(vocab_size=library.get_vocab_size()))
