"""A row of the running batch: one request, and how far it has come."""

from __future__ import annotations

from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING

from gpt2cli.generation.choice.philox import Draws
from gpt2cli.generation.requests import Request
from gpt2cli.generation.sampling import Filters, Scores
from gpt2cli.generation.texts import Text

if TYPE_CHECKING:
    from gpt2cli.generation.choice.seen_ids import SeenIds
    from gpt2cli.generation.speculation import PromptLookup


class Row:
    """A request with its ids so far, and the scores of tokens that are next.

    What of the ids is read starts with the one at `first`, as the older half of a full context is dropped.
    """

    def __init__(self, ticket: int, request: Request) -> None:
        self.ticket = ticket
        self.request = request
        self.ids = list(request.ids)
        self.first = 0
        self.scores: deque[Scores] = deque()
        self.draft: deque[int] = deque()
        # How many tokens a device has chosen that are not known here yet.
        self.coming = 0
        self.draws = Draws(request.sampler.seed, request.sample)
        self._text: Text | None = None

    @property
    def text(self) -> Text:
        """Its place in the KV memory."""
        assert self._text, "the row has joined the batch"
        return self._text

    @text.setter
    def text(self, text: Text) -> None:
        self._text = text

    @cached_property
    def _lookup(self) -> PromptLookup:
        # Without speculation, nothing of it is imported.
        from gpt2cli.generation.speculation import PromptLookup

        return PromptLookup()

    @cached_property
    def _seen(self) -> SeenIds:
        return self.request.sampler.seen(self.ids, len(self.request.ids))

    @property
    def made(self) -> int:
        """The number of chosen tokens."""
        return len(self.ids) - len(self.request.ids)

    @property
    def unread(self) -> int:
        """How many ids are not read yet, with those that are coming."""
        return len(self.ids) + self.coming - self.first - self.text.length

    @property
    def waits_for_scores(self) -> bool:
        """Whether its next token cannot be chosen where its logits are."""
        request = self.request
        return request.settings.logprobs is not None or request.sampler.adjusts(self.made + self.coming)

    def capacity(self, context: int) -> int:
        """Return how many positions it may need; the last token is never read."""
        return min(len(self.request.ids) + max(self.request.settings.max_tokens - 1, 0), context)

    def top_needed(self) -> int | None:
        """Return how many of the highest logits the next choice needs, or None if all are."""
        request = self.request
        return request.sampler.top_needed(len(self.ids)) if request.settings.logprobs is None else None

    def adjusted(self) -> Scores:
        """Return the scores of the next token with all penalties, biases and bans."""
        sampler, scores = self.request.sampler, self.scores[0]
        return sampler.adjust(scores, self._seen) if sampler.adjusts(self.made) else scores

    def filters(self) -> Filters:
        """Return how the next token is chosen."""
        return self.request.sampler.filters(self.made, self.request.sample)

    def next_ids(self, most: int) -> tuple[list[int], bool]:
        """Return at most `most` of the unread ids and whether they are all; draft what may follow."""
        start = self.first + self.text.length
        ids = self.ids[start : start + most]
        is_all = len(ids) == self.unread
        if len(ids) == self.unread == 1 and self.made and self.request.settings.speculate:
            room = self.text.capacity - self.text.length - 1
            left = self.request.settings.max_tokens - self.made - 1
            self.draft = deque(self._lookup.propose(self.ids, min(room, left)))
            if drafts := self.request.drafts:
                drafts.passes += 1
                drafts.proposed += len(self.draft)
        return ids, is_all

    def add(self, chosen: int) -> None:
        """Add a chosen token, which may be the one that was drafted and is read already."""
        self.ids.append(chosen)
        if self.draft and self.draft[0] == chosen:
            self.draft.popleft()
            if drafts := self.request.drafts:
                drafts.accepted += 1
            self.text.length += 1
        else:
            self.draft.clear()
            self.scores.clear()

    def slide(self, context: int) -> None:
        """Drop the older half of a full context."""
        # What is cached depends on its position, so the newer half must be reread from position 0.
        self.first = len(self.ids) - max(context // 2, 1)
        self.text.length = 0
