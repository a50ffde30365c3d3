"""The texts to train on, and the tokenizer made for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.errors import InputError
from gpt2cli.text.reading.compression import is_compressed, without_compression
from gpt2cli.text.reading.newlines import with_lf
from gpt2cli.training.data.sources import Sources

if TYPE_CHECKING:
    from gpt2cli.text.reading.notes import TextNotes
    from gpt2cli.text.tokenizer import Tokenizer
    from gpt2cli.training.data.documents import Ids

JSON_SUFFIXES = (".jsonl", ".ndjson")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
BYTES_PER_TOKEN = 4


class TrainingTexts:
    """Documents as text, with LF for CR LF, and rows of ids from token files.

    `notes` say what was left out.
    """

    def __init__(
        self,
        names: Sequence[str],
        document: Literal["marker", "file"],
        field: str | None,
        sources: Sources | None = None,
    ) -> None:
        """Read all texts, those of folders and patterns too, from files unless other sources are given.

        Raises:
            InputError: a text is empty, cannot be read, or is not in the format that its name promises.
        """
        self._sources = sources or Sources()
        self.notes: list[str] = []
        files = self._sources.files(names, self.notes.append)
        self.names = [self._sources.title(name) for name in names]
        self.documents: list[str] = []
        self.rows: list[Ids] = []
        for name in files:
            self.documents += map(with_lf, self._read(name, document, field))
        self.text_bytes = sum(len(text.encode()) for text in self.documents)
        self.text_bytes += BYTES_PER_TOKEN * sum(row.size for row in self.rows)

    def encode(self, tokenizer: Tokenizer, vocab_size: int, special: bool = False) -> Ids:
        """Return all documents as one row of ids; special tokens in them are plain text unless `special`.

        Raises:
            InputError, CheckpointError: the ids do not fit the model.
        """
        from gpt2cli.training.data.documents import join_documents

        parts: list[Ids | list[int]] = [*self.rows]
        parts += [tokenizer.encode(text, special) for text in self.documents]
        return join_documents(parts, tokenizer.eos_id, vocab_size)

    def check(self, notes: TextNotes) -> None:
        """Give the notes on the documents."""
        name = self.names[0] if len(self.names) == 1 else "the text"
        for document in self.documents:
            notes.check(document, name)

    def _read(self, source: str, document: Literal["marker", "file"], field: str | None) -> Sequence[str]:
        from gpt2cli.training.data.documents import (
            TOKEN_SUFFIXES,
            parse_json_lines,
            parse_table,
            read_token_file,
            split_documents,
        )

        suffix = Path(without_compression(source)).suffix.lower()
        if suffix in TOKEN_SUFFIXES and is_compressed(source):
            raise InputError(f"{source}: token files are mapped into memory.", "Decompress it first.")
        if suffix in TOKEN_SUFFIXES:
            self.rows.append(read_token_file(Path(source)))
            return []
        name = self._sources.title(source)
        if suffix == ".bin":
            raise InputError(f"{name} may hold ids of any size.", f"Name it {' or '.join(TOKEN_SUFFIXES)}.")
        text = self._sources.read(source)
        if not text.strip():
            raise InputError(f"{name} holds no text." if text else f"{name} is empty.")
        if suffix in DELIMITERS:
            return parse_table(text, DELIMITERS[suffix], field or "text", name)
        if field is not None or suffix in JSON_SUFFIXES:
            return parse_json_lines(text, field or "text", name)
        return [text] if document == "file" else split_documents(text)


def learn_tokenizer(texts: TrainingTexts, vocab_size: int | None, special: bool = False) -> Tokenizer:
    """Return a tokenizer trained on the texts, or GPT-2's if there are token files.

    With `special`, it learns nothing from the end-of-text tokens in the texts.
    """
    from gpt2cli.text.bpe_training import suitable_vocab_size, train_tokenizer
    from gpt2cli.text.loading import bundled_tokenizer
    from gpt2cli.text.tokenizer import Tokenizer

    if texts.rows:
        return bundled_tokenizer()
    documents: Iterable[str] = texts.documents
    if special:
        documents = (part for text in documents for part in text.split(END_OF_TEXT))
    library = train_tokenizer(documents, vocab_size or suitable_vocab_size(texts.text_bytes))
    return Tokenizer(library, ModelConfig(vocab_size=library.get_vocab_size()))
