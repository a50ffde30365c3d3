"""The text of a sample that grows, wherever it is put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from gpt2_tokenizer import TOKENIZER
from work import bytes_copied

from gpt2cli.cli.output.completions import TextCompletionWriter
from gpt2cli.generation.completion import Completion
from gpt2cli.generation.requests import Token
from gpt2cli.generation.samples.pieces import Piece
from gpt2cli.generation.settings import CompletionSettings
from gpt2cli.serving.http.completions.answer import CompletionAnswer
from gpt2cli.serving.http.completions.choices import Update
from gpt2cli.serving.remote.continuation import RemoteCompletion

(DASHES,) = TOKENIZER.encode("-" * 64)


def completion() -> tuple[Callable[[], object], Callable[[], str]]:
    grown = Completion(TOKENIZER, CompletionSettings())
    return lambda: grown.push(Token(DASHES)), lambda: grown.text


def remote_completion() -> tuple[Callable[[], object], Callable[[], str]]:
    grown = RemoteCompletion()
    return lambda: grown.add({"text": "-" * 64}), lambda: grown.text


def answer() -> tuple[Callable[[], object], Callable[[], str]]:
    body: Any = SimpleNamespace(choices=1, with_usage=False, with_ids=False)
    grown = CompletionAnswer("", "", body, SimpleNamespace(seed=0, prompt_tokens=0))  # type: ignore[arg-type]
    return lambda: grown.add(Update(0, "-" * 64)), lambda: grown.whole()["choices"][0]["text"]


def waiting_sample() -> tuple[Callable[[], object], Callable[[], str]]:
    written = bytearray()
    grown = TextCompletionWriter(written.extend, 2, "", False, False)

    def text() -> str:
        for sample in range(2):
            grown.add(Piece(sample, "", "length"))
        return written.decode().split("===\n")[-1].removesuffix("\n")

    return lambda: grown.add(Piece(1, "-" * 64)), text


@pytest.mark.parametrize("open_text", [completion, remote_completion, answer, waiting_sample])
def test_a_text_of_any_length_is_put_together_once(
    open_text: Callable[[], tuple[Callable[[], object], Callable[[], str]]],
) -> None:
    def copied(count: int) -> int:
        add, text = open_text()
        total = bytes_copied([add] * count + [partial(text)])
        assert text() == "-" * 64 * count
        return total

    assert copied(400) < 2.5 * copied(200)
