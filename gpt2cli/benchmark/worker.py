"""Measures taken inside a process of this package: `python -m gpt2cli.benchmark.worker TASK`.

A task is the JSON of a model's name, how to compute, a workload and the measures to take.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gpt2cli.benchmark.bandwidth import bytes_per_token, read_bandwidth
from gpt2cli.benchmark.many.prompts import KINDS, read_prompts
from gpt2cli.benchmark.many.rates import token_rate
from gpt2cli.benchmark.measurements import BANDWIDTH, REACHED, rate_between
from gpt2cli.benchmark.workload import HELD_OUT, SCORED_CONTEXTS, Workload, tokenized_text
from gpt2cli.generation.engine import Engine
from gpt2cli.generation.requests import GenerationSettings, Request
from gpt2cli.generation.sampling import Sampler
from gpt2cli.generation.settings import SamplingSettings
from gpt2cli.hub.model_files import find_model
from gpt2cli.model.model import Model, load_model
from gpt2cli.model.prefill import prefill
from gpt2cli.ops.compute import Compute
from gpt2cli.ops.threads import available_cores
from gpt2cli.scoring.scored_text import Text
from gpt2cli.scoring.text_scorer import TextScorer
from gpt2cli.scoring.windows import Scheme
from gpt2cli.serving.completion_lines import open_engine
from gpt2cli.text.loading import load_tokenizer
from gpt2cli.text.streaming.stream_encoder import FAST_FROM_BYTES, StreamEncoder
from gpt2cli.text.tokenizer import Tokenizer

# The other engines decode greedily too.
GREEDY = Sampler(SamplingSettings(temperature=0.0), seed=0)


def measure(task: Mapping[str, Any]) -> dict[str, float]:
    """Take the measures of a task and return their values by name, in their units.

    Raises:
        Error: the model cannot be opened.
    """
    compute = Compute(**task["compute"])
    ops = compute.open(for_decoding=True)
    files = find_model(task["model"])
    assert files is not None, "the model was here when the benchmark began"
    model = load_model(files, ops, screened=True)
    tokenizer, workload = load_tokenizer(files, model.config), Workload(**task["workload"])
    worker = _Worker(model, tokenizer, workload, task["prompts"])
    results: dict[str, float] = {}
    for name in task["measures"]:
        take = worker.measures[name]
        if name == "decode" and ops.device_name == "cpu":
            results |= _with_bandwidth(take, compute.threads or available_cores(), bytes_per_token(model))
        else:
            results[name] = take()
    return results


def _with_bandwidth(decode: Callable[[], float], threads: int, token_bytes: int) -> dict[str, float]:
    """Return tokens per second, the memory bandwidth in GB/s, and the share of it that decoding reached."""
    # Measured before and after, because the load that other processes put on the memory changes.
    before = read_bandwidth(threads)
    rate = decode()
    bandwidth = (before + read_bandwidth(threads)) / 2
    return {
        "decode": rate,
        BANDWIDTH.name: bandwidth / 1e9,
        REACHED.name: rate * token_bytes / bandwidth,
    }


class _Worker:
    def __init__(self, model: Model[Any], tokenizer: Tokenizer, workload: Workload, prompts: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._workload = workload
        self.measures: Mapping[str, Callable[[], float]] = {
            "decode": lambda: self._decode(1),
            "prefill": self._prefill,
            "batch": lambda: self._decode(workload.batch),
            **{kind: partial(self._continue, prompts, kind) for kind in KINDS},
            "score": self._score,
            "tokenize": self._tokenize,
        }

    def _decode(self, rows: int) -> float:
        # A short run first, for what happens only once.
        self._token_times(rows, 2)
        return rate_between(self._token_times(rows, self._workload.tokens + 1), rows)

    def _token_times(self, rows: int, tokens: int) -> list[float]:
        ids, settings = self._workload.short_ids, GenerationSettings(tokens)
        engine = Engine(self._model, rows=rows, capacity=len(ids) + tokens)
        for row in range(rows):
            engine.submit(Request(ids, GREEDY, settings, row))
        times: list[float] = []
        while not engine.idle:
            chosen = [event for event in engine.step() if event.token]
            times += [time.perf_counter()] * len(chosen)
        return times

    def _continue(self, file: str, kind: str) -> float:
        """Return the new tokens per second of many prompts."""
        prompts, settings = read_prompts(file, kind), GenerationSettings(self._workload.new_tokens)
        engine = open_engine(self._model)
        start = time.perf_counter()
        for prompt in prompts:
            engine.submit(Request(prompt.ids, GREEDY, settings))
        made = 0
        while not engine.idle:
            made += sum(event.token is not None for event in engine.step())
        return token_rate(made, len(prompts) * settings.max_tokens, time.perf_counter() - start)

    def _prefill(self) -> float:
        ids = self._workload.prompt_ids
        prefill(self._model, ids, 1, GREEDY.top_needed(0))
        start = time.perf_counter()
        prefill(self._model, ids, 1, GREEDY.top_needed(0))
        return len(ids) / (time.perf_counter() - start)

    def _score(self) -> float:
        context, tokenizer = self._workload.context, self._tokenizer
        ids = tokenizer.encode(HELD_OUT.read_text("utf-8"))[: SCORED_CONTEXTS * context]
        text = Text(tokenizer.decode(ids).decode(errors="ignore"))
        # The same windows as `gpt2 score` on a CPU.
        scheme = Scheme(tokenizer.bos_id, context, max(1, context // 2))
        scorer = TextScorer(self._model, tokenizer, scheme, context)
        start = time.perf_counter()
        ((_, summary),) = scorer.summaries([(None, text)], "bits")
        return summary.tokens / (time.perf_counter() - start)

    def _tokenize(self) -> float:
        data = tokenized_text().encode()
        encoder = StreamEncoder(self._tokenizer)
        # Enough text to start the fast encoder, whose start-up time is not its speed.
        for _ in encoder.encode([data[: 2 * FAST_FROM_BYTES]], "the text"):
            pass
        start = time.perf_counter()
        for _ in encoder.encode([data], "the text"):
            pass
        return len(data) / (time.perf_counter() - start) / 1e6


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
