"""Attention to slots as one operation of PyTorch."""

from __future__ import annotations

import torch

from gpt2cli.ops.device.slot_attention import attend_in_slots


def test_the_compiler_knows_what_the_operation_writes_and_returns() -> None:
    torch.manual_seed(0)
    rows, heads, kv_heads, width, slot, length = 3, 4, 2, 6, 16, 8
    queries = torch.randn(rows, heads, width)
    keys, values = torch.randn(2, rows, kv_heads, width)
    held_keys, held_values = torch.randn(2, kv_heads, 4 * slot + 1, width)
    writes = torch.tensor([2, slot + 7, 4 * slot])
    mask = torch.zeros(rows, 1, 1, length)
    arguments = (queries, keys, values, held_keys, held_values, writes, mask, slot, 0.4)
    torch.library.opcheck(attend_in_slots, arguments, test_utils=("test_schema", "test_faketensor"))
