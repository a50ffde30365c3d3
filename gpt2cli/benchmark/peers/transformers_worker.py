"""transformers on the same work: `python -m gpt2cli.benchmark.peers.transformers_worker TASK`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any


def generate(task: Mapping[str, Any], tokens: int) -> str:
    """Load the model, continue the prompt greedily and return the text."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(task["checkpoint"])
    model = _load(task)
    ids = tokenizer(task["prompt"])["input_ids"][-max(1, task["workload"]["context"] - tokens) :]
    written: str = tokenizer.decode(_continue(model, [ids], tokens)[0])
    return written


def measure(task: Mapping[str, Any]) -> dict[str, float]:
    """Take the measures of a task and return their values by name, in their units."""
    # `generate`, whose whole process is timed, must not pay for these imports.
    from gpt2cli.benchmark.measurements import rate_between
    from gpt2cli.benchmark.workload import Workload

    workload = Workload(**task["workload"])
    model = _load(task)
    results = {}
    for name, rows in (("decode", 1), ("batch", workload.batch)):
        if name in task["measures"]:
            prompts = [workload.short_ids] * rows
            _continue(model, prompts, 2)
            steps = _Steps()
            _continue(model, prompts, workload.tokens + 1, steps)
            results[name] = rows * rate_between(steps.times)
    if "prefill" in task["measures"]:
        _continue(model, [workload.prompt_ids], 1)
        start = time.perf_counter()
        _continue(model, [workload.prompt_ids], 1)
        results["prefill"] = len(workload.prompt_ids) / (time.perf_counter() - start)
    if "score" in task["measures"]:
        results["score"] = _score(model, task["checkpoint"], workload.context)
    return results


class _Steps:
    """A transformers streamer that records the time of each step."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._seen_prompt = False

    def put(self, value: object) -> None:
        if self._seen_prompt:
            self.times.append(time.perf_counter())
        self._seen_prompt = True

    def end(self) -> None:
        pass


def _load(task: Mapping[str, Any]) -> Any:
    import torch
    from transformers import GPT2LMHeadModel

    if task["threads"]:
        torch.set_num_threads(task["threads"])
    model = GPT2LMHeadModel.from_pretrained(task["checkpoint"], dtype=getattr(torch, task["dtype"]))
    model.generation_config.eos_token_id = None
    return model.to(task["device"]).eval()


def _continue(model: Any, prompts: Any, tokens: int, steps: _Steps | None = None) -> Any:
    import torch

    ids = torch.tensor(prompts, device=model.device)
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=0,
        streamer=steps,
    )


def _score(model: Any, checkpoint: str, context: int) -> float:
    import torch
    from transformers import AutoTokenizer

    from gpt2cli.benchmark.workload import HELD_OUT, SCORED_CONTEXTS
    from gpt2cli.scoring.streaming.id_blocks import reach_of
    from gpt2cli.scoring.windows import rolling_windows

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    ids = tokenizer(HELD_OUT.read_text("utf-8"))["input_ids"][: SCORED_CONTEXTS * context]
    row = torch.tensor(ids, device=model.device)
    start = time.perf_counter()
    total = 0.0
    with torch.no_grad():
        for window in rolling_windows(reach_of(len(ids)), context, max(1, context // 2)):
            last = min(window.last, len(ids))
            logits = model(row[None, window.start : window.end]).logits[0]
            logprobs = logits[window.first - 1 - window.start : last - 1 - window.start].log_softmax(-1)
            total += logprobs.gather(1, row[window.first : last, None]).sum().item()
    return len(ids) / (time.perf_counter() - start)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    tokens = asked.get("generate")
    sys.stdout.write(json.dumps(measure(asked)) if tokens is None else generate(asked, tokens))
