"""Tokens grouped into words, and the probability of a word.

Words are separated by ASCII white space; white space at the end of a text belongs to no word. A token of
GPT-2 includes the space before a word, so only the next token shows where a word ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gpt2cli.scoring.rows import NATS_PER
from gpt2cli.scoring.scored_text import ScoredToken
from gpt2cli.scoring.settings import Correction, Punctuation, Unit

if TYPE_CHECKING:
    from gpt2cli.scoring.predictions import Mask, WordStarts
    from gpt2cli.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class WordRow:
    """The score of a word; None if a part of it was not scored. The place is without white space.

    `surprisal` includes the white space before the word; `surprisal_corrected` counts the white space after
    it instead. `entropy` is that of the prediction of the first token.
    """

    index: int
    text: str
    start: int
    end: int
    byte_start: int
    byte_end: int
    surprisal: float | None
    surprisal_corrected: float | None
    entropy: float | None
    tokens: int


def begins_word(tokenizer: Tokenizer, vocab_size: int) -> Mask:
    """Return which ids begin a word, (vocabulary,): those with white space first, and the end of text."""
    import numpy as np

    starts = [tokenizer.begins_word(token_id) for token_id in range(vocab_size)]
    for token_id in tokenizer.end_ids:
        starts[token_id] = True
    return np.array(starts, dtype=np.bool_)


def word_starts(tokenizer: Tokenizer, vocab_size: int, correction: Correction) -> WordStarts:
    """Return which tokens a correction takes for the beginning of a word.

    To Pimentel and Meister, it is all with white space first, and the end of the text. Their own
    wordsprobability counts a space alone as white space, and the end of the text on both sides where a text
    begins. minicons counts a space alone and no end, and corrects no text's beginning.
    """
    import numpy as np

    from gpt2cli.scoring.predictions import WordStarts

    if correction == "pimentel-meister" or tokenizer.spelling.word_end is not None:
        return WordStarts(begins_word(tokenizer, vocab_size).astype(np.float32))
    spaces = [tokenizer.token_bytes(token_id)[:1] == b" " for token_id in range(vocab_size)]
    weights, first = np.array(spaces, np.float32), np.zeros(vocab_size, np.float32)
    if correction == "wordsprobability":
        first = weights.copy()
        if tokenizer.eos_id is not None:
            weights[tokenizer.eos_id], first[tokenizer.eos_id] = 1.0, -1.0
    return WordStarts(weights, first)


def word_rows(
    tokens: Iterable[ScoredToken], unit: Unit, punctuation: Punctuation = "attached"
) -> Iterator[WordRow]:
    """Yield a row for each word; a run of punctuation may be a word apart."""
    apart = punctuation == "apart"
    for index, word in enumerate(_words(tokens, apart), 1):
        row = _word_row(index, word, unit)
        # A correction is for words that white space separates.
        yield replace(row, surprisal_corrected=None) if apart else row


def corrected_logprob(word: Sequence[ScoredToken]) -> float | None:
    """Return the log-probability, in nats, of exactly this word, given that a word begins here.

    Pimentel & Meister, "How to Compute the Probability of a Word" (2024); Oh & Schuler, "Leading Whitespaces
    of Language Models' Subword Vocabulary Pose a Confound for Calculating Word Probabilities" (2024).
    """
    logprob = _logprob(word)
    before, after = word[0].word_start, word[-1].word_end
    if logprob is None or before is None or after is None:
        return None
    return logprob + after - before


def _words(tokens: Iterable[ScoredToken], apart: bool = False) -> Iterator[list[ScoredToken]]:
    word: list[ScoredToken] = []
    complete = False
    for token in tokens:
        is_cut = token.data[:1].isspace() or (word and word[-1].data[-1:].isspace())
        if apart and word and not is_cut:
            is_cut = is_punctuation(token.data) != is_punctuation(word[-1].data)
        if complete and is_cut:
            yield word
            word, complete = [], False
        word.append(token)
        complete = complete or bool(token.data.strip())
    if complete:
        yield word


def is_punctuation(data: bytes) -> bool:
    """Return whether a token is punctuation or symbols alone, as `.` and `"` are, but not `'s`."""
    # Only words apart need it.
    import unicodedata

    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        # A part of a character, which is a letter more often than not.
        return False
    return bool(text) and all(unicodedata.category(character)[0] in "PS" for character in text)


def _word_row(index: int, word: Sequence[ScoredToken], unit: Unit) -> WordRow:
    data = b"".join(token.data for token in word)
    first = next(token for token in word if token.data.strip())
    before = len(first.data) - len(first.data.lstrip())
    behind = len(data) - len(data.rstrip())
    crlf_behind = word[-1].crlf_behind
    entropy = word[0].entropy
    return WordRow(
        index,
        data.strip().decode("utf-8", "replace"),
        first.start + before + first.crlf_before,
        word[-1].end - behind - crlf_behind,
        first.byte_start + before + first.crlf_before,
        word[-1].byte_end - behind - crlf_behind,
        _surprisal(_logprob(word), unit),
        _surprisal(corrected_logprob(word), unit),
        None if entropy is None else entropy / NATS_PER[unit],
        len(word),
    )


def _logprob(word: Iterable[ScoredToken]) -> float | None:
    total = 0.0
    for token in word:
        if token.logprob is None:
            return None
        total += token.logprob
    return total


def _surprisal(logprob: float | None, unit: Unit) -> float | None:
    return None if logprob is None else 0.0 - logprob / NATS_PER[unit]
