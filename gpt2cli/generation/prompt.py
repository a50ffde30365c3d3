"""The ids of a prompt, fitted to the context."""

from __future__ import annotations

from collections.abc import Sequence

from gpt2cli.errors import ContextError, UsageError
from gpt2cli.generation.settings import Truncation


def fit_prompt(
    ids: Sequence[int], context: int, max_tokens: int, truncate: Truncation | None, leading: int = 0
) -> tuple[Sequence[int], bool]:
    """Return the ids that fit the context, and whether any were dropped.

    A truncated prompt leaves room for the new tokens but always keeps at least half of the context. The
    first `leading` ids are kept whichever side is cut.

    Raises:
        ContextError: the ids do not fit and `truncate` is None.
        UsageError: there are none.
    """
    if not ids:
        raise UsageError("The prompt has no tokens: this tokenizer drops all of it.")
    if len(ids) <= context:
        return ids, False
    if truncate is None:
        raise ContextError(
            f"The prompt has {len(ids):,} tokens and the model's context holds {context:,}.",
            "Shorten it, or set `truncate` to left (keeps the end) or right (keeps the beginning). "
            "gpt2 tokenize counts and cuts as this model does if its `model` names it.",
        )
    kept = max(context + 1 - max_tokens, context // 2, 1)
    kept = max(min(kept, context) - leading, 0)
    rest = ids[leading:]
    fitting = rest[len(rest) - kept :] if truncate == "left" else rest[:kept]
    return ([*ids[:leading], *fitting] if leading else fitting), True
