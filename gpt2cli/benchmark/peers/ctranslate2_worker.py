"""CTranslate2 on the same work: `python -m gpt2cli.benchmark.peers.ctranslate2_worker TASK`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt2cli.benchmark.many.prompts import Prompt

# The best of these counts.
BATCHES = (8, 16, 32, 64)


def convert(checkpoint: str, folder: str, precision: str) -> None:
    """Convert a checkpoint to CTranslate2's format, in a new folder."""
    transformers = import_module("ctranslate2.converters.transformers")
    transformers.TransformersConverter(checkpoint).convert(folder, quantization=precision)


def generate(task: Mapping[str, Any], tokens: int) -> str:
    """Load the model, continue the prompt greedily and return the text."""
    from tokenizers import Tokenizer

    generator = _open(task)
    tokenizer = Tokenizer.from_file(str(Path(task["checkpoint"]) / "tokenizer.json"))
    prompt = tokenizer.encode(task["prompt"], add_special_tokens=False).tokens
    kept = prompt[-max(1, task["workload"]["context"] - tokens) :]
    written: str = tokenizer.decode(_continue(generator, [kept], tokens)[0].sequences_ids[0])
    return written


def measure(task: Mapping[str, Any]) -> dict[str, float]:
    """Take the measures of a task and return their values by name, in their units."""
    # `generate`, whose whole process is timed, must not pay for these imports.
    from gpt2cli.benchmark.many.prompts import KINDS, read_prompts
    from gpt2cli.benchmark.many.rates import best_rate
    from gpt2cli.benchmark.measurements import rate_between
    from gpt2cli.benchmark.workload import Workload

    workload = Workload(**task["workload"])
    generator = _open(task)
    vocabulary = json.loads((Path(task["folder"]) / "vocabulary.json").read_bytes())
    short = [vocabulary[token_id] for token_id in workload.short_ids]
    long = [vocabulary[token_id] for token_id in workload.prompt_ids]
    results = {}
    for name, rows in (("decode", 1), ("batch", workload.batch)):
        if name in task["measures"]:
            _continue(generator, [short] * rows, 2)
            times: list[float] = []
            _continue(generator, [short] * rows, workload.tokens + 1, times)
            results[name] = rate_between(times, rows)
    if "prefill" in task["measures"]:
        _continue(generator, [long], 1)
        start = time.perf_counter()
        _continue(generator, [long], 1)
        results["prefill"] = len(long) / (time.perf_counter() - start)
    for kind in KINDS:
        if kind in task["measures"]:
            prompts = read_prompts(task["prompts"], kind)
            rate = partial(_rate, generator, vocabulary, workload.new_tokens)
            results[kind] = best_rate(prompts, BATCHES, rate)
    return results


def _rate(
    generator: Any, vocabulary: Sequence[str], tokens: int, prompts: Sequence[Prompt], rows: int
) -> float:
    """Return the new tokens per second of many prompts, at most so many at once."""
    from gpt2cli.benchmark.many.rates import token_rate

    # What all of them begin with is read once; all have tokens of their own.
    alike = takewhile(
        lambda ids: len(set(ids)) == 1, zip(*(prompt.ids[:-1] for prompt in prompts), strict=False)
    )
    shared = len(list(alike)) if len(prompts) > 1 else 0
    spelled = [[vocabulary[token_id] for token_id in prompt.ids] for prompt in prompts]
    start = time.perf_counter()
    results = _continue(
        generator, [each[shared:] for each in spelled], tokens, rows=rows, static=spelled[0][:shared]
    )
    made = sum(len(result.sequences_ids[0]) for result in results)
    return token_rate(made, len(prompts) * tokens, time.perf_counter() - start)


def _open(task: Mapping[str, Any]) -> Any:
    generator = import_module("ctranslate2").Generator
    return generator(task["folder"], compute_type=task["precision"], intra_threads=task["threads"] or 0)


def _continue(
    generator: Any,
    prompts: Sequence[Sequence[str]],
    tokens: int,
    times: list[float] | None = None,
    rows: int = 0,
    static: Sequence[str] = (),
) -> Any:
    def note_time(_: object) -> bool:
        assert times is not None
        times.append(time.perf_counter())
        return False

    return generator.generate_batch(
        prompts,
        max_length=tokens,
        min_length=tokens,
        max_batch_size=rows,
        static_prompt=static or None,
        # Otherwise the prompt is read token by token.
        include_prompt_in_result=False,
        callback=None if times is None else note_time,
    )


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    if "convert" in asked:
        convert(**asked["convert"])
    else:
        tokens = asked.get("generate")
        sys.stdout.write(json.dumps(measure(asked)) if tokens is None else generate(asked, tokens))
