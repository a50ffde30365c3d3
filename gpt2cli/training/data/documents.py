"""Texts as one row of ids: documents, token files, and the held-out part."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gpt2cli.checkpoint.formats.mapped_files import watch_mapping
from gpt2cli.errors import InputError
from gpt2cli.text.reading.separator import SEPARATOR

Ids: TypeAlias = np.ndarray[Any, np.dtype[Any]]

RAW_TOKENS = {".u16": "<u2", ".u32": "<u4"}
TOKEN_SUFFIXES = (".npy", *RAW_TOKENS)
MOST_CELL_CHARACTERS = 2**31 - 1
HELD_OUT_FRACTION = 0.05
# More slows each evaluation and hardly sharpens its figure.
HELD_OUT_TOKENS = 32_768
# Fewer documents are too coarse to hold out whole.
MANY_DOCUMENTS = 20


def split_documents(text: str) -> list[str]:
    """Return the documents of a text, separated by lines of `<|endoftext|>`; blank ones are dropped."""
    return [document for document in SEPARATOR.split(text) if document.strip()]


def parse_table(text: str, delimiter: str, field: str, name: str) -> list[str]:
    """Return one column of a CSV or TSV table with a header; messages call the source `name`.

    Raises:
        InputError: there is no such column, a row has more or fewer cells than the header, or quotation
            marks do not match.
    """
    # The default limit is a few pages.
    csv.field_size_limit(MOST_CELL_CHARACTERS)
    rows = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    documents = []
    try:
        header = next(rows, [])
        if field not in header:
            raise InputError(
                f"{name} has no column {field!r}, only {', '.join(repr(cell[:30]) for cell in header[:6])}.",
                "Name one in `field`.",
            )
        column = header.index(field)
        for row in rows:
            if row and len(row) != len(header):
                raise InputError(
                    f"{name}, line {rows.line_num}: {len(row)} cells under a header of {len(header)}.",
                    "Quote texts that contain the delimiter.",
                )
            if row:
                documents.append(row[column])
    except csv.Error as error:
        raise InputError(f"{name}, line {rows.line_num}: {error}.", "Quote texts as CSV does.") from error
    return [document for document in documents if document.strip()]


def parse_json_lines(text: str, field: str, name: str) -> list[str]:
    """Return one field of each JSON object, one per line; messages call the source `name`.

    Raises:
        InputError: a line is not a JSON object, or its field is missing or not a string.
    """
    documents = []
    # Not splitlines, which also cuts at characters that JSON strings may hold.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            documents.append(_field(line, field, f"{name}, line {number}"))
    return [document for document in documents if document.strip()]


def read_token_file(path: Path) -> Ids:
    """Map a row of ids into memory: a one-dimensional .npy, or raw little-endian .u16 or .u32.

    Raises:
        InputError: the file cannot be read, is empty, or has another format.
    """
    try:
        size = path.stat().st_size
        if not size:
            raise InputError(f"{path} is empty.")
        if path.suffix == ".npy":
            ids: Ids = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            dtype = np.dtype(RAW_TOKENS[path.suffix])
            if size % dtype.itemsize:
                raise InputError(f"{path} is cut off: {size:,} bytes are not a multiple of {dtype.itemsize}.")
            ids = np.memmap(path, dtype, mode="r")
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}.") from error
    # numpy reads the header as Python, which fails in many ways.
    except Exception as error:
        raise InputError(f"{path} is not a .npy file of integers.") from error
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not ids.size:
        raise InputError(f"{path} is not one row of token ids.", "Give a one-dimensional array of integers.")
    watch_mapping(path, ids)
    return ids


def join_documents(parts: Sequence[Ids | Sequence[int]], end_id: int | None, vocab_size: int) -> Ids:
    """Return all parts as one row, with the end-of-text id before, between and after them.

    Raises:
        InputError: an id is beyond the vocabulary, or there is no id to put between several parts.
    """
    if end_id is None and len(parts) > 1:
        raise InputError(f"The model has no end-of-text token to put between {len(parts):,} documents.")
    mark = [] if end_id is None else [end_id]
    dtype = np.uint16 if vocab_size <= 1 << 16 else np.uint32
    row: list[Any] = [np.asarray(mark, dtype)]
    for part in parts:
        ids = np.asarray(part)
        largest = int(ids.max(initial=0))
        if largest >= vocab_size or ids.min(initial=0) < 0:
            raise InputError(
                f"The texts have token {largest}, but the vocabulary ends at {vocab_size - 1}.",
                "Name the model whose tokenizer made the token file in `tokenizer`.",
            )
        row += [ids.astype(dtype, copy=False), row[0]]
    return _without_repeats(np.concatenate(row), end_id)


def count_documents(ids: Ids, end_id: int | None) -> int:
    """Return how many documents the end-of-text id separates."""
    if end_id is None:
        return int(ids.size > 0)
    ends = ids == end_id
    return int(np.count_nonzero(ends[:-1] & ~ends[1:])) + int(ids.size > 0 and not ends[0])


def hold_out(ids: Ids, end_id: int | None) -> tuple[Ids, Ids]:
    """Return the ids to train on and the last ones, held out; these are whole documents if there are many."""
    size = min(HELD_OUT_TOKENS, max(2, round(HELD_OUT_FRACTION * ids.size)))
    cut = max(0, ids.size - size)
    if count_documents(ids, end_id) >= MANY_DOCUMENTS:
        # The id that ends one document also begins the next, so both parts have it.
        ends = np.flatnonzero(ids[: cut + 1] == end_id)
        start = int(ends[-1])
        if ids.size - start <= 4 * size:
            return ids[: start + 1], ids[start:]
    return ids[:cut], ids[cut:]


def _field(line: str, field: str, where: str) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON.", "JSON Lines have one object per line.") from error
    text = value.get(field) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise InputError(f"{where} has no text in {field!r}.", "Name its field in `field`.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: character {error.start} is half a surrogate pair.") from error
    return text


def _without_repeats(ids: Ids, end_id: int | None) -> Ids:
    # A token file may have end-of-text ids already.
    ends = ids == end_id
    return np.delete(ids, np.flatnonzero(ends[:-1] & ends[1:]))
