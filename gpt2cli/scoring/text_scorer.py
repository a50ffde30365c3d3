"""Texts scored by a model: many in one batch, or a long one window by window."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import groupby
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, get_args

from gpt2cli.errors import UsageError
from gpt2cli.scoring.protocols import protocol_scheme
from gpt2cli.scoring.rows import Summary, Totals
from gpt2cli.scoring.scored_text import ScoredToken, Text, scored_tokens
from gpt2cli.scoring.settings import Correction, Punctuation, ScoringSettings, Unit
from gpt2cli.scoring.streaming.id_blocks import SharedBlocks
from gpt2cli.scoring.streaming.streamed_text import StreamedText
from gpt2cli.scoring.windows import Scheme, require_bos
from gpt2cli.scoring.words import word_starts

if TYPE_CHECKING:
    from gpt2cli.model.loading import LoadedModel
    from gpt2cli.model.model import Model
    from gpt2cli.scoring.predictions import Predictions
    from gpt2cli.text.tokenizer import Tokenizer

Key = TypeVar("Key")
BATCH_ON_CPU, BATCH_ELSEWHERE = 1, 8
RANKING = {"mean": "mean_surprisal", "total": "surprisal"}


@dataclass(frozen=True, eq=False)
class _Item(Generic[Key]):
    key: Key
    text: Text
    blocks: SharedBlocks


class TokenScorer(ABC):
    """What scores texts, with a model or by asking a server.

    The methods take texts with keys of any type and yield them in the same order. Use what is yielded for one
    text before asking for the next.
    """

    @property
    def reads_parts(self) -> bool:
        """Whether a long text can be read in parts."""
        return False

    @abstractmethod
    def windows(self, texts: Iterable[tuple[Key, Text]]) -> Iterator[tuple[Key, Text, Iterator[Predictions]]]:
        """Yield the windows of each text.

        Raises:
            Error: scoring failed.
        """

    @abstractmethod
    def tokens(
        self, texts: Iterable[tuple[Key, Text]], words: bool = False
    ) -> Iterator[tuple[Key, Text, Iterator[ScoredToken]]]:
        """Yield the tokens of each text; with `words`, also how likely a word begins at each.

        Raises:
            Error: scoring failed.
        """

    def summaries(self, texts: Iterable[tuple[Key, Text]], unit: Unit) -> Iterator[tuple[Key, Summary]]:
        """Yield the sums of each text.

        Raises:
            Error: scoring failed.
        """
        for key, _, tokens in self.tokens(texts):
            totals = Totals()
            for token in tokens:
                totals.add(token)
            yield key, totals.summary(unit)


@dataclass(frozen=True)
class TextScorer(TokenScorer):
    """A model and the scheme that it scores texts under; a batch has at most `room` positions.

    Special tokens in a text are plain text unless `special` is true.
    """

    model: Model[Any]
    tokenizer: Tokenizer
    scheme: Scheme
    room: int
    special: bool = False
    correction: Correction = "pimentel-meister"

    @property
    def reads_parts(self) -> bool:
        return self.tokenizer.keeps_every_byte

    def windows(self, texts: Iterable[tuple[Key, Text]]) -> Iterator[tuple[Key, Text, Iterator[Predictions]]]:
        """Yield the windows of each text.

        Raises:
            ValueError, Error: as `score_texts` does.
        """
        for item, windows in self._score(texts, words=False):
            yield item.key, item.text, windows

    def tokens(
        self, texts: Iterable[tuple[Key, Text]], words: bool = False
    ) -> Iterator[tuple[Key, Text, Iterator[ScoredToken]]]:
        """Yield the tokens of each text; with `words`, also how likely a word begins at each.

        Raises:
            ValueError, Error: as `score_texts` does.
        """
        for item, windows in self._score(texts, words):
            yield (
                item.key,
                item.text,
                scored_tokens(item.text, item.blocks.second(), windows, self.tokenizer, self.special),
            )

    def _score(
        self, texts: Iterable[tuple[Key, Text]], words: bool
    ) -> Iterator[tuple[_Item[Key], Iterator[Predictions]]]:
        # The client of a server has scores without computing any.
        from gpt2cli.scoring.predictions import score_texts

        vocab_size = self.model.config.vocab_size
        starts = word_starts(self.tokenizer, vocab_size, self.correction) if words else None
        items = (_Item(key, text, SharedBlocks(self._blocks(text))) for key, text in texts)
        keyed = ((item, item.blocks.first()) for item in items)
        scored = score_texts(self.model, keyed, self.scheme, self.room, starts)
        for item, group in groupby(scored, key=lambda pair: pair[0]):
            yield item, (predictions for _, predictions in group)

    def _blocks(self, text: Text) -> Iterable[Sequence[int]]:
        if not isinstance(text, StreamedText):
            return [self.tokenizer.encode(text.content, self.special)]
        # Only long texts need it.
        from gpt2cli.text.streaming.stream_encoder import StreamEncoder

        chunks = (part.encode() for part in text.parts())
        return StreamEncoder(self.tokenizer, self.special).encode(chunks, "the text")


@dataclass(frozen=True)
class Scoring:
    """A scorer, its unit, and the metadata that two scores must share to be comparable."""

    scorer: TokenScorer
    unit: Unit
    metadata: dict[str, Any]
    punctuation: Punctuation = "attached"

    def summaries(self, texts: Iterable[tuple[Key, str]]) -> Iterator[tuple[Key, Summary]]:
        """Yield the sums of each text, in order.

        Raises:
            Error: the model produced NaN.
        """
        return self.scorer.summaries(((key, Text(text)) for key, text in texts), self.unit)

    def ranked(
        self,
        texts: Iterable[tuple[Key, str]],
        by: Literal["mean", "total"] = "mean",
        best: int | None = None,
    ) -> list[tuple[Key, Summary]]:
        """Return the texts and their sums, the least surprising first, those without a score last.

        `by` compares the mean surprisal of a token, or the total of the text. Of many texts, only the `best`
        are kept.

        Raises:
            Error: the model produced NaN.
        """

        def surprisal(entry: tuple[Key, Summary]) -> float:
            value: float | None = getattr(entry[1], RANKING[by])
            return float("inf") if value is None else value

        summaries = self.summaries(texts)
        return sorted(summaries, key=surprisal) if best is None else nsmallest(best, summaries, surprisal)


def open_scoring(loaded: LoadedModel, settings: ScoringSettings) -> Scoring:
    """Return a scoring of texts with a model as the settings ask.

    Raises:
        UsageError: as `open_scorer` does.
    """
    scorer = open_scorer(loaded, settings)
    metadata = {
        "model": loaded.files.name,
        "revision": loaded.files.revision,
        "unit": settings.unit,
        "bos": scorer.scheme.bos_id is not None,
        "window": scorer.scheme.window,
        "stride": scorer.scheme.stride,
        **({"protocol": settings.protocol} if settings.protocol else {}),
        **({"correction": settings.correction} if settings.correction != get_args(Correction)[0] else {}),
        **({"punctuation": settings.punctuation} if settings.punctuation == "apart" else {}),
    }
    return Scoring(scorer, settings.unit, metadata, settings.punctuation)


def open_scorer(loaded: LoadedModel, settings: ScoringSettings) -> TextScorer:
    """Return what scores texts with a model as the settings ask.

    Raises:
        UsageError: a setting does not fit the protocol or the model.
    """
    model = loaded.model
    # A CPU gains nothing from more than one full context in a batch, and results would come later.
    default = BATCH_ON_CPU if model.ops.device_name == "cpu" else BATCH_ELSEWHERE
    room = (settings.batch_size or default) * model.config.n_positions
    scheme = _scheme(loaded, settings)
    return TextScorer(model, loaded.tokenizer, scheme, room, settings.special, settings.correction)


def _scheme(loaded: LoadedModel, settings: ScoringSettings) -> Scheme:
    context, bos_id = loaded.model.config.n_positions, loaded.tokenizer.bos_id
    if settings.window is not None and settings.window > context:
        raise UsageError(f"A window of {settings.window:,} exceeds the model's context of {context:,}.")
    if settings.protocol:
        return protocol_scheme(settings.protocol, settings, context, bos_id)
    window = settings.window or context
    first = None if settings.bos is False else require_bos(bos_id)
    return Scheme(first, window, settings.stride or max(1, window // 2))
