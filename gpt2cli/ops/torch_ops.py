"""The decoder's operations on torch tensors: CUDA, MPS, training, and CPU on request."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gpt2cli.errors import Error
from gpt2cli.ops.device.activations import ACTIVATIONS
from gpt2cli.ops.device.slot_attention import attend_in_slots
from gpt2cli.ops.device.slot_cache import SlotCache
from gpt2cli.ops.device.transfer import upload
from gpt2cli.ops.operations import LayerCache, Places, Storage, StoredTensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def cuda_is_usable() -> bool:
    """Return whether there is an NVIDIA GPU that this PyTorch build supports."""
    return torch.cuda.is_available()


def computes_in_bfloat16(device: str) -> bool:
    """Return whether a device is an NVIDIA GPU with instructions for bfloat16."""
    if not device.startswith("cuda"):
        return False
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def require_device(name: str) -> None:
    """Check that a device works, by computing something small on it.

    Raises:
        Error: the device is unusable; the message gives the reason.
    """
    try:
        torch.zeros(1, device=name).item()
    except NotImplementedError:
        reason = "this PyTorch is built without it"
    except (AssertionError, RuntimeError) as error:
        # The first sentence is the reason, the rest is advice for developers.
        reason = re.split(r"\.\s|\n", str(error).strip())[0].rstrip(".")
    else:
        return
    raise Error(f"No {name.upper()} device is usable here: {reason}.", "Use `device` cpu.")


def set_threads(count: int) -> None:
    """Set the number of CPU threads."""
    torch.set_num_threads(count)


def threads() -> int:
    """Return the number of CPU threads."""
    return torch.get_num_threads()


class TorchOps:
    """Operations on torch tensors of one device and one floating-point type; see `ops.Ops`."""

    name = "torch"
    uses_screens = False
    unused_gpu = ""

    def __init__(
        self,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        dropout: float = 0.0,
        compiled: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.device_name = str(self.device)
        self.dtype = dtype
        self.number_bytes = dtype.itemsize
        self.dtype_name = str(dtype).removeprefix("torch.")
        # Tensors are converted as they are loaded.
        self.storage: Storage | None = None
        self.dropout = dropout
        self.compiled = compiled
        self.decodes_ahead = compiled or self.device.type == "cuda"

    def free_memory(self) -> int | None:
        return torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else None

    def expect_many_rows(self, free_memory: Callable[[], int]) -> None:
        pass

    def weight(self, tensor: StoredTensor) -> Tensor:
        stored = torch.from_numpy(tensor.array)
        if tensor.dtype == "BF16":
            stored = stored.view(torch.bfloat16)
        return stored.to(self.device, self.dtype)

    def table(self, tensor: StoredTensor) -> Tensor:
        return self.weight(tensor)

    def token_ids(self, ids: Sequence[Sequence[int]]) -> Tensor:
        return upload(np.array(ids, np.int64), self.device)

    def to_numpy(self, x: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        array: np.ndarray[Any, np.dtype[np.float32]] = x.detach().to("cpu", torch.float32).numpy()
        return array

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.device)

    def embed(self, tokens: Tensor, positions: Tensor | None, ids: Tensor, places: Places) -> Tensor:
        embedded = F.embedding(ids, tokens)
        if positions is not None:
            embedded = embedded + positions[self._index(places)]
        return self._drop(embedded)

    def layer_norm(self, x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
        return F.layer_norm(x, weight.shape, weight, bias, epsilon)

    def rms_norm(self, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        # In float32, as transformers does: the squares of 16-bit numbers may overflow.
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)
        return weight * wide.to(x.dtype)

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: str | None = None,
        residual: Tensor | None = None,
        gate: Tensor | None = None,
    ) -> Tensor:
        product = self.product(x, weight, bias)
        if activation is not None:
            product = ACTIVATIONS[activation](product)
        if gate is not None:
            product = product * gate
        return product if residual is None else residual + self._drop(product)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return x @ weight + bias."""
        rows = x.reshape(-1, x.shape[-1])
        if bias is None:
            product = rows @ weight
        else:
            # A product by itself, the compiler can fuse with what follows.
            product = rows @ weight + bias if self.compiled else torch.addmm(bias, rows, weight)
        return product.view(*x.shape[:-1], weight.shape[1])

    def head(self, x: Tensor, table: Tensor, top: int | None = None) -> Tensor:
        if self.device.type != "cuda" or self.dtype == torch.float32:
            return F.linear(x, table)
        # Rounded to 16 bits, the logits of many tokens would be the same.
        product = torch.mm(x.flatten(0, -2), table.T, out_dtype=torch.float32)
        return product.view(*x.shape[:-1], table.shape[0])

    def rotate(
        self, queries: Tensor, keys: Tensor, cosines: Tensor, sines: Tensor, neighbours: bool = False
    ) -> tuple[Tensor, Tensor]:
        return _rotated(queries, cosines, sines, neighbours), _rotated(keys, cosines, sines, neighbours)

    def attention(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scale: float,
        window: int | None = None,
        past: LayerCache[Tensor] | None = None,
        first: int = 0,
    ) -> Tensor:
        if not past:
            queries, keys, values = (part.transpose(1, 2) for part in (queries[:, first:], keys, values))
            return self._attend(queries, keys, values, scale, window)
        if isinstance(past, SlotCache):
            mask = past.mask(window)
            held = past.keys, past.values, past.writes, mask, past.slot
            found: Tensor = attend_in_slots(queries[0], keys[0], values[0], *held, scale)
            return found[None]
        own, held_keys, held_values = queries[0].transpose(0, 1), past.keys, past.values
        spans = past.append(keys[0].transpose(0, 1), values[0].transpose(0, 1))
        attended = [
            self._attend(
                own[None, :, new][:, :, skipped:],
                held_keys[None, :, there],
                held_values[None, :, there],
                scale,
                window,
            )
            for new, there, skipped in spans
        ]
        return torch.cat(attended, dim=1)

    def _attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None
    ) -> Tensor:
        """Return (batch, time, heads * head width) for queries (batch, heads, time, head width)."""
        batch, heads, time, width = queries.shape
        # Before these, no query sees any.
        begin = max(0, keys.shape[2] - time + 1 - window) if window else 0
        keys, values = keys[:, :, begin:], values[:, :, begin:]
        total = keys.shape[2]
        mask = None
        if time > 1 and (time < total or (window and window < total)):
            mask = torch.ones(time, total, dtype=torch.bool, device=self.device)
            mask = mask.tril(total - time)
            if window:
                mask = mask.triu(total - time + 1 - window)
        attended = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout,
            is_causal=mask is None and time > 1,
            scale=scale,
            enable_gqa=heads != keys.shape[1],
        )
        return attended.transpose(1, 2).reshape(batch, time, heads * width)

    def token_statistics(self, logits: Tensor, targets: Array, word_starts: Array | None) -> Array:
        places = torch.from_numpy(targets).to(self.device)[:, None]
        logprobs = F.log_softmax(logits, dim=-1, dtype=torch.float32)
        probabilities = logprobs.exp()
        entropies = torch.special.entr(probabilities).sum(dim=-1)
        ranks = 1 + (logits > logits.gather(1, places)).sum(dim=-1)
        starts = torch.full_like(entropies, torch.nan)
        if word_starts is not None:
            mask = torch.from_numpy(word_starts).to(self.device)
            # Avoids the logarithm of zero.
            starts = (probabilities @ mask).clamp(torch.finfo(torch.float32).tiny, 1.0).log()
        rows = (logprobs.gather(1, places)[:, 0], entropies, ranks, starts)
        return np.stack([row.cpu().double().numpy() for row in rows])

    def choose(self, rows: Sequence[Array], filters: Sequence[tuple[float, ...]]) -> list[int] | None:
        return None

    def select(self, x: Tensor, places: Places) -> Tensor:
        return x[:, self._index(places)]

    def _index(self, places: Places | Tensor) -> slice | Tensor:
        """Return places as an index on the device."""
        return upload(places, self.device) if isinstance(places, np.ndarray) else places

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.dropout else x


def _rotated(x: Tensor, cosines: Tensor, sines: Tensor, neighbours: bool) -> Tensor:
    pairs = cosines.shape[1]
    cosine, sine = cosines[:, None], sines[:, None]
    turned, rest = x[..., : 2 * pairs], x[..., 2 * pairs :]
    first, second = turned[..., :pairs], turned[..., pairs:]
    if neighbours:
        first, second = turned[..., 0::2], turned[..., 1::2]
    halves = (first * cosine - second * sine, second * cosine + first * sine)
    rotated = torch.stack(halves, dim=-1).flatten(-2) if neighbours else torch.cat(halves, dim=-1)
    return torch.cat((rotated, rest), dim=-1)
