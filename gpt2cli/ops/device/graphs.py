"""Functions of static shapes, captured in CUDA graphs, which launch all their kernels at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

Result = TypeVar("Result")


class Graphs(Generic[Result]):
    """Call a function whose arguments are numbers; on CUDA, capture what it does for each.

    The function reads and writes tensors that stay where they are, and waits for nothing on the device. Its
    result is valid until the next call. It runs uncaptured when its arguments are new, because what kernels
    set up at their first use cannot be captured.
    """

    def __init__(self, function: Callable[..., Result], device: torch.device) -> None:
        self._function = function
        self._device = device
        self._seen: set[tuple[int, ...]] = set()
        self._captured: dict[tuple[int, ...], tuple[torch.cuda.CUDAGraph, Result]] = {}
        if device.type == "cuda":
            with torch.cuda.device(device):
                self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
                # Results are never needed together, so that all graphs share their memory.
                self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, *arguments: int) -> Result:
        """Return what the function returns, which may not be computed yet."""
        if self._device.type != "cuda":
            return self._function(*arguments)
        with torch.cuda.device(self._device):
            if arguments in self._captured:
                graph, result = self._captured[arguments]
            elif arguments in self._seen:
                graph, result = self._captured[arguments] = self._capture(arguments)
            else:
                self._seen.add(arguments)
                return self._warm_up(arguments)
            graph.replay()
            return result

    def _warm_up(self, arguments: tuple[int, ...]) -> Result:
        """Call the function in the stream that captures, after what is queued and before what follows."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = self._function(*arguments)
        current.wait_stream(self._stream)
        return result

    def _capture(self, arguments: tuple[int, ...]) -> tuple[torch.cuda.CUDAGraph, Result]:
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile.
        mode = "thread_local"
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode=mode):
            return graph, self._function(*arguments)
