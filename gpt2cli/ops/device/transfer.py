"""Numbers on their way between main memory and a device, for which nobody waits without need."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def upload(array: Array, device: torch.device) -> Tensor:
    """Return an array on a device; what was queued there before need not be done yet."""
    host = torch.from_numpy(array)
    if device.type != "cuda":
        return host.to(device)
    # Its memory is reused when the copy is done.
    return host.pin_memory().to(device, non_blocking=True)


class Download:
    """A tensor on its way to main memory, from when this is made."""

    def __init__(self, tensor: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            # The tensor may be written again.
            self._host = tensor.to("cpu", copy=True)
            return
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> Array:
        """Return the numbers when they are here."""
        if self._event:
            self._event.synchronize()
        array: Array = self._host.numpy()
        return array
