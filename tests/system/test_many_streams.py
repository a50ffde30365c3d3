"""Sixty-four clients that stream from one server: no error, no mixed text, and what that costs.

With `-s`, the figures are printed. They are of the model in GPT2_TEST_MODEL, by default the bundled one, and
take GPT2_TEST_SECONDS, by default 10.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from statistics import median, quantiles
from typing import Any
from urllib.request import urlopen

import pytest
from conftest import COMMAND
from streams import Stream, read_streams

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]
MODEL = os.environ.get("GPT2_TEST_MODEL", "stories")
SECONDS = float(os.environ.get("GPT2_TEST_SECONDS", "10"))
CLIENTS, TOKENS = 64, 60
# One prompt in so many is as long as the context allows, up to 900 tokens.
ONE_IN, LONGEST = 100, 900


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [*COMMAND, "serve", "-m", MODEL, "--port", "0", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)


def read(url: str, requests: Iterator[dict[str, Any]], seconds: float) -> tuple[list[Stream], float]:
    """Return the streams of all clients, which must be whole, and the seconds that they took."""
    host, _, port = url.removeprefix("http://").partition(":")
    start = time.perf_counter()
    streams = read_streams(host, int(port), requests, CLIENTS, seconds)
    assert all(stream.is_whole for stream in streams)
    return streams, time.perf_counter() - start


def short_requests() -> Iterator[dict[str, Any]]:
    for seed in count():
        words = random.Random(seed).choices(["king", "forest", "old", "and", "the", "house"], k=seed % 8)
        prompt = " ".join(["Once upon a time", *words])
        yield {"prompt": prompt, "seed": seed, "max_tokens": TOKENS, "ignore_eos": True}


def test_streams_have_the_texts_of_lines_at_nearly_their_speed(url: str) -> None:
    # What both do once is left out.
    read(url, short_requests(), 0)
    streams, seconds = read(url, short_requests(), SECONDS)
    made = sum(stream.tokens for stream in streams)
    settings = ["--temp", "1", "--top-k", "0", "--top-p", "1", "--batch-size", str(CLIENTS)]
    numbered = [json.dumps({"id": number, **stream.request}) for number, stream in enumerate(streams)]
    command = [*COMMAND, "generate", "--jsonl", "-", "-m", MODEL, "-q", "--unordered", *settings]
    start = time.perf_counter()
    done = subprocess.run(command, input="\n".join(numbered).encode(), stdout=subprocess.PIPE, check=True)
    alone = time.perf_counter() - start
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    texts = {answer["id"]: answer["choices"][0]["text"] for answer in answers}
    assert texts == {number: stream.text for number, stream in enumerate(streams)}
    print(f"\n{made / seconds:.0f} tokens/s streamed, {made / alone:.0f} in lines: {alone / seconds:.0%}")


def test_a_long_prompt_that_joins_holds_up_no_stream(url: str) -> None:
    with urlopen(f"{url}/v1/models") as response:
        context = json.load(response)["data"][0]["max_model_len"]

    def requests() -> Iterator[dict[str, Any]]:
        for number, request in enumerate(short_requests()):
            ids = random.Random(number).choices(range(200, 1000), k=min(LONGEST, context - TOKENS))
            yield {**request, "prompt": ids, "max_tokens": 1} if number % ONE_IN == CLIENTS - 1 else request

    streams, _ = read(url, requests(), SECONDS)
    assert any(isinstance(stream.request["prompt"], list) for stream in streams)
    gaps = [gap for stream in streams for gap in stream.gaps]
    middle, last = median(gaps), quantiles(gaps, n=100)[-1]
    print(f"\ngap {middle * 1e3:.1f} ms, 99th percentile {last * 1e3:.1f} ms: {last / middle:.1f}x")
