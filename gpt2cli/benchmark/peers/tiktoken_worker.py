"""tiktoken with the model's own vocabulary: `python -m gpt2cli.benchmark.peers.tiktoken_worker TASK`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from gpt2cli.benchmark.workload import HELD_OUT, tokenized_text
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.errors import Error
from gpt2cli.hub.model_files import find_model
from gpt2cli.text.loading import load_tokenizer


def measure(task: Mapping[str, Any]) -> dict[str, float]:
    """Return the speed of `tokenize` in MB/s.

    Raises:
        Error: tiktoken gives other ids, so that the speeds are not comparable.
    """
    files = find_model(task["model"])
    assert files is not None, "the model was here when the benchmark began"
    tokenizer = load_tokenizer(files, files.read_config())
    spelled = {tokenizer.token_bytes(token_id): token_id for token_id in range(tokenizer.vocab_size)}
    encoding = import_module("tiktoken").Encoding(
        name=task["model"],
        pat_str=import_module("tiktoken_ext.openai_public").r50k_pat_str,
        mergeable_ranks={data: rank for data, rank in spelled.items() if data != END_OF_TEXT.encode()},
        special_tokens={},
    )
    sample = HELD_OUT.read_text("utf-8")
    if encoding.encode_ordinary(sample) != tokenizer.encode(sample):
        raise Error("it gives other ids than this model's tokenizer.")
    text = tokenized_text()
    start = time.perf_counter()
    encoding.encode_ordinary(text)
    return {"tokenize": len(text.encode()) / (time.perf_counter() - start) / 1e6}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
