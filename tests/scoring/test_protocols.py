"""The perplexities of other tools, each recomputed as that tool does, on transformers' logits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import load_checkpoint, save_checkpoint

from gpt2cli.errors import UsageError
from gpt2cli.model.model import Model
from gpt2cli.scoring.predictions import score_texts
from gpt2cli.scoring.protocols import PROTOCOLS, ProtocolTotals
from gpt2cli.scoring.rows import Summary
from gpt2cli.scoring.scored_text import Text
from gpt2cli.scoring.settings import ProtocolName
from gpt2cli.scoring.windows import Scheme

CONTEXT = 48
EOT = 0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("protocols")
    return folder, save_checkpoint(folder)


@pytest.fixture(scope="module")
def model(checkpoint: tuple[Path, Any]) -> Model[Any]:
    return load_checkpoint(checkpoint[0])


def ids_of(count: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(1, 131, count)]


def summary(
    model: Model[Any], name: ProtocolName, ids: list[int], window: int, stride: int, content: str = ""
) -> Summary:
    rules = PROTOCOLS[name]
    scheme = Scheme(EOT if rules.bos else None, window, stride, rules.windows)
    totals = ProtocolTotals(name)
    scored = score_texts(model, [(None, [ids])], scheme, 3 * window)
    totals.add_text(Text(content), (part for _, part in scored))
    return totals.summary("nats")


def hf_perplexity(model: Any, ids: list[int], max_length: int, stride: int) -> float:
    """Follow https://huggingface.co/docs/transformers/perplexity, its averaging included."""
    encodings = torch.tensor([ids])
    seq_len = encodings.size(1)
    nll_sum, n_tokens, prev_end_loc = 0.0, 0, 0
    for begin_loc in range(0, seq_len, stride):
        end_loc = min(begin_loc + max_length, seq_len)
        trg_len = end_loc - prev_end_loc
        input_ids = encodings[:, begin_loc:end_loc]
        target_ids = input_ids.clone()
        target_ids[:, :-trg_len] = -100
        with torch.no_grad():
            neg_log_likelihood = model(input_ids, labels=target_ids).loss
        num_valid_tokens = (target_ids != -100).sum().item()
        num_loss_tokens = num_valid_tokens - target_ids.size(0)
        nll_sum += float(neg_log_likelihood) * num_loss_tokens
        n_tokens += int(num_loss_tokens)
        prev_end_loc = end_loc
        if end_loc == seq_len:
            break
    return math.exp(nll_sum / n_tokens)


def lm_eval_windows(tokens: list[int], max_seq_len: int) -> Iterator[tuple[list[int], list[int]]]:
    """Follow get_rolling_token_windows of lm_eval/utils.py with context_len=1, and make_disjoint_window."""
    first_seq_len = min(max_seq_len, len(tokens))
    yield [EOT], tokens[:first_seq_len]
    predicted = first_seq_len
    while predicted < len(tokens):
        window_pred_len = min(len(tokens) - predicted, max_seq_len)
        window_end = predicted + window_pred_len
        context = tokens[window_end - max_seq_len - 1 : window_end - 1]
        yield context[: len(context) - (window_pred_len - 1)], tokens[predicted:window_end]
        predicted += window_pred_len


def lm_eval_loglikelihood(model: Any, tokens: list[int], max_length: int) -> float:
    total = 0.0
    for context, continuation in lm_eval_windows(tokens, max_length):
        read = (context + continuation)[-(max_length + 1) :][:-1]
        with torch.no_grad():
            table = torch.log_softmax(model(torch.tensor([read])).logits[0].double(), -1)
        scored = table[-len(continuation) :]
        total += float(scored[torch.arange(len(continuation)), torch.tensor(continuation)].sum())
    return total


def llama_cpp_perplexity(model: Any, tokens: list[int], n_ctx: int) -> float:
    """Follow perplexity() of tools/perplexity/perplexity.cpp, for a model without BOS."""
    first, nll, count = n_ctx // 2, 0.0, 0
    for chunk in range(len(tokens) // n_ctx):
        data = tokens[chunk * n_ctx : (chunk + 1) * n_ctx]
        with torch.no_grad():
            table = torch.log_softmax(model(torch.tensor([data])).logits[0].double(), -1)
        for place in range(first, n_ctx - 1):
            nll -= float(table[place, data[place + 1]])
            count += 1
    return math.exp(nll / count)


LENGTHS = [2, 24, 47, 48, 49, 72, 97, 110]


@pytest.mark.slow
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("stride", [CONTEXT, 24, 17])
def test_hf_is_the_recipe_of_the_documentation(
    checkpoint: tuple[Path, Any], model: Model[Any], length: int, stride: int
) -> None:
    ids = ids_of(length)
    expected = hf_perplexity(checkpoint[1], ids, CONTEXT, stride)
    found = summary(model, "hf", ids, CONTEXT, stride).perplexity
    assert found is not None
    # Of a last window that is a single token, the recipe makes a mean of nothing.
    assert math.isnan(expected) or found == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, *LENGTHS])
@pytest.mark.parametrize("window", [CONTEXT, 10])
def test_lm_eval_is_its_rolling_loglikelihood(
    checkpoint: tuple[Path, Any], model: Model[Any], length: int, window: int
) -> None:
    ids, content = ids_of(length), " Two  words\nand é.\n"
    loglikelihood = lm_eval_loglikelihood(checkpoint[1], ids, window)
    found = summary(model, "lm-eval", ids, window, window, content)
    words, count = len(re.split(r"\s+", content)), len(content.encode("utf-8"))
    assert found.surprisal == pytest.approx(-loglikelihood, rel=1e-5)
    assert found.word_perplexity == pytest.approx(math.exp(-loglikelihood / words), rel=1e-3)
    assert found.bits_per_byte == pytest.approx(-loglikelihood / (count * math.log(2)), rel=1e-5)
    assert (found.tokens, found.words, found.bytes) == (length, words, count)


@pytest.mark.slow
@pytest.mark.parametrize("length", [96, 97, 143, 144, 200])
@pytest.mark.parametrize("window", [CONTEXT, 31])
def test_llama_cpp_scores_the_second_half_of_each_chunk(
    checkpoint: tuple[Path, Any], model: Model[Any], length: int, window: int
) -> None:
    ids = ids_of(length)
    found = summary(model, "llama.cpp", ids, window, window)
    expected = llama_cpp_perplexity(checkpoint[1], ids, window)
    assert found.perplexity == pytest.approx(expected, rel=1e-4)
    assert found.tokens == length // window * (window - window // 2 - 1)


def test_llama_cpp_needs_two_chunks(model: Model[Any]) -> None:
    with pytest.raises(UsageError, match="needs 2 chunks"):
        summary(model, "llama.cpp", ids_of(2 * CONTEXT - 1), CONTEXT, CONTEXT)


@pytest.mark.parametrize("name", ["hf", "lm-eval"])
@pytest.mark.parametrize("length", [0, 1])
def test_a_text_too_short_for_a_protocol_has_no_perplexity(
    model: Model[Any], name: ProtocolName, length: int
) -> None:
    found = summary(model, name, ids_of(length), CONTEXT, CONTEXT)
    assert (found.perplexity is None) == (name == "hf" or length == 0)


def test_sums_of_texts_are_those_of_one_long_count(model: Model[Any]) -> None:
    whole = ProtocolTotals("hf")
    parts = []
    for seed in range(3):
        part = ProtocolTotals("hf")
        scheme = Scheme(None, CONTEXT, 24, PROTOCOLS["hf"].windows)
        scored = score_texts(model, [(None, [ids_of(80, seed)])], scheme, CONTEXT)
        part.add_text(Text("x"), (windows for _, windows in scored))
        parts.append(part.summary("nats"))
        whole.add_totals(part)
    total = whole.summary("nats")
    assert total.surprisal == pytest.approx(sum(part.surprisal or 0.0 for part in parts))
    assert total.mean_surprisal == pytest.approx(np.mean([part.mean_surprisal or 0.0 for part in parts]))
