"""Measures of decoding on a GPU against transformers and the memory bandwidth; `make gpu` runs it.

Models have random weights. `--device cpu --small` tries the script where there is no GPU.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from checkpoints import save_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2cli.benchmark import worker
from gpt2cli.benchmark.peers import transformers_worker
from gpt2cli.benchmark.workload import Workload
from gpt2cli.ops.compute import Compute

GPT2 = {"n_embd": 768, "n_layer": 12, "n_head": 12}
XL = {"n_embd": 1600, "n_layer": 48, "n_head": 25}
SMALL = {"n_embd": 48, "n_layer": 3, "n_head": 4, "vocab_size": 320, "n_positions": 256}
ROWS, TOKENS = 64, 128


class Measure(NamedTuple):
    """A rate in tokens per second, and what it is to be compared with."""

    name: str
    rate: float
    share: float
    wanted: float


class Checkpoint(NamedTuple):
    """A folder of random weights, and the bytes of them that a token reads."""

    folder: Path
    token_bytes: int


def save(folder: Path, device: str, dtype: str, sizes: dict[str, int]) -> Checkpoint:
    """Save a random model, made on the device."""
    folder.mkdir()
    with torch.device(device):
        model = GPT2LMHeadModel(GPT2Config(**sizes)).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    save_tokenizer(folder, 320)
    positions = model.transformer.wpe.weight
    return Checkpoint(folder, sum(each.nbytes for each in model.parameters()) - positions.nbytes)


def rates(
    saved: Checkpoint, compute: Compute, names: tuple[str, ...], of_peer: bool = False
) -> dict[str, float]:
    """Return the tokens per second that this package or transformers decodes."""
    workload = Workload(256, tuple(range(8)), TOKENS, ROWS, 1, 320)
    task = {"workload": asdict(workload), "measures": names}
    gc.collect()
    if compute.device == "cuda":
        torch.cuda.empty_cache()
    if of_peer:
        place = {"device": compute.device, "dtype": compute.dtype, "threads": compute.threads}
        return transformers_worker.measure({**task, "checkpoint": str(saved.folder), **place})
    return worker.measure({**task, "model": str(saved.folder), "compute": asdict(compute)})


def bandwidth(device: str, size: int) -> float:
    """Return the bytes per second that copying reads and writes."""
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))
    best = 0.0
    for _ in range(9):
        start = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 2 * size / (time.perf_counter() - start))
    return best


def measures(folder: Path, device: str, *, small: bool) -> Iterator[Measure]:
    """Yield each measure as it is taken."""
    dtype = "float32" if small else "bfloat16"
    compute = Compute(device, "torch", dtype)
    gpt2 = save(folder / "gpt2", device, dtype, SMALL if small else GPT2)
    own, peer = (rates(gpt2, compute, ("decode", "batch"), of_peer) for of_peer in (False, True))
    yield Measure("124M, one row, against transformers", own["decode"], own["decode"] / peer["decode"], 8)
    yield Measure(f"124M, {ROWS} rows, against transformers", own["batch"], own["batch"] / peer["batch"], 6)
    limit = bandwidth(device, 1 << (22 if small else 31))
    xl = save(folder / "xl", device, dtype, SMALL if small else XL)
    for compiled, wanted in ((False, 0.35), (True, 0.6)):
        rate = rates(xl, Compute(device, "torch", dtype, compile=compiled), ("decode",))["decode"]
        title = "XL, one row, compiled" if compiled else "XL, one row"
        yield Measure(f"{title}, of the memory's limit", rate, rate * xl.token_bytes / limit, wanted)


def main() -> None:
    """Print a line a measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    print(torch.cuda.get_device_name() if asked.device == "cuda" else asked.device, torch.__version__)
    with TemporaryDirectory() as folder:
        for found in measures(Path(folder), asked.device, small=asked.small):
            verdict = "enough" if found.share >= found.wanted else "too little"
            line = f"{found.name}: {found.rate:,.0f} tokens/s, {found.share:.2f} of {found.wanted} wanted"
            print(f"{line}: {verdict}", flush=True)


if __name__ == "__main__":
    main()
