"""What a vocabulary without bytes cannot spell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpt2cli.errors import CheckpointError, InputError

if TYPE_CHECKING:
    import tokenizers


def checked_ids(library: tokenizers.Tokenizer, text: str) -> list[int]:
    """Return the ids of a text.

    Raises:
        InputError: the text has what the vocabulary lacks, and the tokenizer has no token for the unknown.
    """
    try:
        encoding = library.encode(text, add_special_tokens=False)
    # The library raises nothing more specific.
    except Exception as error:
        raise _unspelled(_first_failure(library, text)) from error
    if _unknown_id(library) is None:
        position = 0
        for start, end in (*encoding.offsets, (len(text), len(text))):
            lost = text[position:start].strip()
            if lost and _normalized(library, lost):
                # The library places what follows a lost character too far to the left.
                raise _unspelled(next((each for each in text if _is_lost(library, each)), lost))
            position = max(position, end)
    return list(encoding.ids)


def first_unknown(library: tokenizers.Tokenizer, text: str) -> str | None:
    """Return the first part of a text that gets the id of the unknown, or None."""
    unknown_id = _unknown_id(library)
    if unknown_id is None:
        return None
    encoding = library.encode(text, add_special_tokens=False)
    found = (
        place
        for token_id, place in zip(encoding.ids, encoding.offsets, strict=True)
        if token_id == unknown_id
    )
    # The token itself may stand in the text.
    unknown = (text[start:end] for start, end in found)
    return next((part for part in unknown if part != library.model.unk_token), None)


def _unknown_id(library: tokenizers.Tokenizer) -> int | None:
    unknown = library.model.unk_token
    return None if unknown is None else library.token_to_id(unknown)


def _is_lost(library: tokenizers.Tokenizer, character: str) -> bool:
    return not library.encode(character, add_special_tokens=False).ids and bool(
        _normalized(library, character)
    )


def _normalized(library: tokenizers.Tokenizer, text: str) -> str:
    return (library.normalizer.normalize_str(text) if library.normalizer else text).strip()


def _first_failure(library: tokenizers.Tokenizer, text: str) -> str:
    splitter = library.pre_tokenizer
    pieces = splitter.pre_tokenize_str(_normalized(library, text)) if splitter else []
    return next((piece for piece, _ in pieces if library.token_to_id(piece) is None), text)


def _unspelled(part: str) -> InputError:
    return InputError(
        f"The tokenizer has no token for {part[:40]!r}.", "It has none for unknown text either."
    )


def library_ids(library: tokenizers.Tokenizer, text: str) -> list[int]:
    """Return the ids of a text.

    Raises:
        CheckpointError: the library cannot encode it.
    """
    try:
        return list(library.encode(text, add_special_tokens=False).ids)
    # The library raises nothing more specific.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"The model's tokenizer cannot encode this text: {reason}.") from error
