"""Attention of one new position of each text to a slot of keys and values, in shapes that never change."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


# As one operation, because the compiler would copy the whole memory to write into it.
@torch.library.custom_op("gpt2cli::attend_in_slots", mutates_args=("held_keys", "held_values"))
def attend_in_slots(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    held_keys: Tensor,
    held_values: Tensor,
    writes: Tensor,
    mask: Tensor,
    slot: int,
    scale: float,
) -> Tensor:
    """Write keys and values (rows, kv heads, head width), and attend; `SlotCache` says where and to what.

    Queries have the shape (rows, heads, head width), and the result (rows, heads * head width).
    """
    rows, heads, width = queries.shape
    held_keys.index_copy_(1, writes, keys.transpose(0, 1))
    held_values.index_copy_(1, writes, values.transpose(0, 1))
    # Heads that share their keys attend like so many positions.
    grouped = queries.reshape(rows, keys.shape[1], -1, width)
    attended = F.scaled_dot_product_attention(
        grouped,
        _slots(held_keys, rows, slot, mask.shape[-1]),
        _slots(held_values, rows, slot, mask.shape[-1]),
        attn_mask=mask.expand(*grouped.shape[:3], -1),
        scale=scale,
    )
    return attended.reshape(rows, heads * width)


@attend_in_slots.register_fake
def _(queries: Tensor, *_: object) -> Tensor:
    return queries.new_empty(queries.shape[0], queries.shape[1] * queries.shape[2])


def _slots(held: Tensor, rows: int, slot: int, length: int) -> Tensor:
    """Return the first positions of slots, (rows, heads, length, head width), a view."""
    heads, _, width = held.shape
    return held[:, : rows * slot].view(heads, rows, slot, width)[:, :, :length].transpose(0, 1)
