"""A server that another process runs, and how fast it answers."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import chain, cycle, islice, pairwise
from typing import Any

import numpy as np

from gpt2cli.benchmark.many.clients import Address, Clients, Reply, request
from gpt2cli.benchmark.many.prompts import Prompt
from gpt2cli.benchmark.many.rates import token_rate
from gpt2cli.errors import Error

HOST = "127.0.0.1"
SECONDS_BETWEEN_LOOKS = 0.02
# What joins while others are continued.
LONG_PROMPT = 900


@contextmanager
def serving(command: Sequence[str]) -> Iterator[Address]:
    """Run a server whose command line lacks only the port, until the end."""
    with socket.create_server((HOST, 0)) as taken:
        address = Address(HOST, taken.getsockname()[1])
    with subprocess.Popen([*command, str(address.port)], stdout=subprocess.DEVNULL) as process:
        try:
            while not _is_ready(address):
                if process.poll() is not None:
                    # Its own last line says why.
                    raise SystemExit(1)
                time.sleep(SECONDS_BETWEEN_LOOKS)
            yield address
        finally:
            process.terminate()


def _is_ready(address: Address) -> bool:
    connection = HTTPConnection(*address)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def served_rate(
    address: Address, prompts: Sequence[Prompt], tokens: int, clients: int, *, stream: bool
) -> float:
    """Return the new tokens per second while a number of clients ask for the continuations of prompts.

    Raises:
        Error: an answer has not as many tokens as were asked for.
    """
    _continue(address, [prompts[0].beginning], tokens, 1, stream=stream)
    start = time.perf_counter()
    replies = _continue(address, prompts, tokens, clients, stream=stream)
    seconds = time.perf_counter() - start
    return token_rate(sum(reply.tokens for reply in replies), len(prompts) * tokens, seconds)


def longest_gap(
    address: Address, prompts: Sequence[Prompt], tokens: int, clients: int, context: int
) -> float:
    """Return how much longer clients wait for a token while a long prompt is read.

    The long prompt is sent when a quarter of the tokens are there, and is read when its first token comes.

    Raises:
        Error: as `gap_ratio` does.
    """
    load = Clients(address)
    short = [prompt.beginning for prompt in islice(cycle(prompts), clients)]
    streams = [load.ask(_request(address, prompt.ids, tokens, stream=True)) for prompt in short]
    long = list(islice(chain.from_iterable(cycle(prompt.ids for prompt in prompts)), LONG_PROMPT))
    joining: Reply | None = None
    joined = 0.0
    while load.waiting:
        load.receive()
        if joining is None and sum(reply.events_so_far for reply in streams) > clients * tokens // 4:
            joined = time.perf_counter()
            joining = load.ask(_request(address, long[: context - 1], 1, stream=True))
    if joining is None:
        raise Error("streams have an event for fewer than a quarter of their tokens.")
    times = [[event.time for event in reply.events() if event.value["choices"]] for reply in streams]
    return gap_ratio(times, joined, joining.events()[0].time)


def gap_ratio(times: Sequence[Sequence[float]], joined: float, read: float) -> float:
    """Return the 99th percentile of the gaps in a span of time over the median of the others.

    `times` are those of the tokens of each stream. Counted are the gaps while all streams have tokens.

    Raises:
        Error: there are no such gaps.
    """
    begin, end = max(each[0] for each in times), min(each[-1] for each in times)
    during: list[float] = []
    others: list[float] = []
    for before, after in chain.from_iterable(pairwise(each) for each in times):
        if begin <= before and after <= end:
            (during if joined <= after and before <= read else others).append(after - before)
    if not (during and others):
        raise Error("no token was made while the long prompt was read.")
    return float(np.percentile(during, 99) / np.median(others))


def _continue(
    address: Address, prompts: Sequence[Prompt], tokens: int, clients: int, *, stream: bool
) -> list[Reply]:
    load = Clients(address)
    requests = iter([_request(address, prompt.ids, tokens, stream=stream) for prompt in prompts])
    replies = [load.ask(each) for each in islice(requests, clients)]
    while load.waiting:
        replies += [load.ask(each) for each in islice(requests, len(load.receive()))]
    return replies


def _request(address: Address, ids: Sequence[int], tokens: int, *, stream: bool) -> bytes:
    body: dict[str, Any] = {"prompt": ids, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return request(address, body)
