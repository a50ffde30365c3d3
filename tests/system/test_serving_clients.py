"""Clients of the OpenAI API against `gpt2 serve`: openai, llm, lm-eval, and many at once."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import COMMAND

import gpt2cli
from gpt2cli.hub.model_source import BUNDLED_FOLDER
from gpt2cli.language_model import LanguageModel

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
PROMPT = "Once upon a time"
QUESTIONS = [
    {"question": "The cat sat on the", "choices": [" floor", " sea of ice"], "answer": 0},
    {"question": "She opened the", "choices": [" of and", " door"], "answer": 1},
    {"question": "Once upon a", "choices": [" time", " the", " moon"], "answer": 0},
    {"question": "“Yes,” said the king,", "choices": [" and he smiled.", " café 🙂"], "answer": 0},
]


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return gpt2cli.load("stories", offline=True)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    command = [*COMMAND, "serve", "-m", "stories", "--port", "0", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.send_signal(signal.SIGINT)
    assert process.returncode == -signal.SIGINT


def test_the_openai_client_completes_streams_and_is_refused(url: str, model: LanguageModel) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    assert [entry.id for entry in client.models.list()] == ["stories"]
    asked: dict[str, Any] = {"model": "stories", "prompt": PROMPT, "max_tokens": 20, "seed": 7}
    expected = model.generate(PROMPT, max_tokens=20, seed=7, temperature=1, top_k=0, top_p=1)
    whole = client.completions.create(**asked, logprobs=2)
    assert whole.choices[0].text == expected.text
    assert whole.usage.completion_tokens == 20
    assert len(whole.choices[0].logprobs.tokens) == 20
    stream = list(client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in stream[:-1]) == expected.text
    assert stream[-1].usage.total_tokens == whole.usage.total_tokens
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(**{**asked, "prompt": [5] * 1000})
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(**{**asked, "model": "davinci-002"})
    with pytest.raises(openai.NotFoundError, match="have no chat"):
        client.chat.completions.create(model="stories", messages=[])


def test_llm_streams_a_completion_model(url: str, tmp_path: Path) -> None:
    pytest.importorskip("llm")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: stories\n  model_name: stories\n  api_base: {url}/v1\n  completion: true\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "llm", "-m", "stories", PROMPT, "-o", "seed", "7", "-u", "--no-log"],
        env=os.environ | {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    assert len(done.stdout.split()) > 5


def evaluate(model: str, arguments: dict[str, Any], tasks: Path) -> dict[str, Any]:
    """Return the numbers that lm-eval has for each task."""
    manager = import_module("lm_eval.tasks").TaskManager(include_path=str(tasks), include_defaults=False)
    names = sorted(path.stem for path in tasks.glob("*.yaml"))
    found = import_module("lm_eval").simple_evaluate(
        model=model, model_args=arguments, tasks=names, task_manager=manager, bootstrap_iters=0
    )
    assert found is not None
    results: dict[str, Any] = found["results"]
    return results


def test_lm_eval_has_the_numbers_of_its_own_model(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    rows = tmp_path / "rows.json"
    rows.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    pages = tmp_path / "pages.json"
    license_text = (Path(__file__).parents[2] / "LICENSE").read_text()
    texts = [license_text, "One short page.", "Alice — « café » 🙂\n" * 40]
    pages.write_text("".join(json.dumps({"page": text}) + "\n" for text in texts))
    head = "dataset_path: json\ntest_split: train\n"
    (tasks / "choices.yaml").write_text(
        f"task: choices\n{head}dataset_kwargs: {{data_files: {{train: {rows}}}}}\n"
        "output_type: multiple_choice\ndoc_to_text: '{{question}}'\ndoc_to_choice: '{{choices}}'\n"
        "doc_to_target: answer\ntarget_delimiter: ''\n"
        "metric_list:\n  - metric: acc\n  - metric: acc_norm\n"
    )
    (tasks / "pages.yaml").write_text(
        f"task: pages\n{head}dataset_kwargs: {{data_files: {{train: {pages}}}}}\n"
        "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{page}}'\n"
        "metric_list:\n  - metric: word_perplexity\n  - metric: byte_perplexity\n  - metric: bits_per_byte\n"
    )
    (tasks / "written.yaml").write_text(
        f"task: written\n{head}dataset_kwargs: {{data_files: {{train: {rows}}}}}\n"
        "output_type: generate_until\ndoc_to_text: '{{question}}'\ndoc_to_target: '{{choices[answer]}}'\n"
        "generation_kwargs: {until: ['.'], max_gen_toks: 12, temperature: 0}\n"
        "metric_list:\n  - metric: exact_match\n"
    )
    served = {"model": "stories", "base_url": f"{url}/v1/completions", "max_length": 512, "batch_size": 3}
    # Through any API, lm-eval reads windows that are two tokens shorter.
    local = {"pretrained": str(BUNDLED_FOLDER), "dtype": "float32", "device": "cpu", "max_length": 510}
    mine, own = evaluate("local-completions", served, tasks), evaluate("hf", local, tasks)
    assert mine.keys() == own.keys() == {"choices", "pages", "written"}
    for task, numbers in own.items():
        for name, number in numbers.items():
            if isinstance(number, float):
                assert math.isclose(mine[task][name], number, rel_tol=1e-5), (task, name)


def test_sixty_four_streams_have_their_own_texts(url: str, model: LanguageModel) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    texts: dict[int, str] = {}

    def read(seed: int) -> None:
        chunks = client.completions.create(
            model="stories", prompt=f"{PROMPT}, {seed}", max_tokens=60, seed=seed, stream=True
        )
        texts[seed] = "".join(chunk.choices[0].text for chunk in chunks)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settings: dict[str, Any] = {"max_tokens": 60, "temperature": 1, "top_k": 0, "top_p": 1}
    assert texts == {
        seed: model.generate(f"{PROMPT}, {seed}", seed=seed, **settings).text for seed in range(64)
    }


def test_a_description_is_kept_by_every_answer(url: str, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis")
    done = subprocess.run(
        [
            *(sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; schemathesis()"),
            *("run", f"{url}/openapi.json", "--max-examples", "40", "--no-color", "--seed", "1"),
            *("--checks", "all", "--exclude-checks", "unsupported_method,missing_required_header"),
            *("--workers", "1", "--generation-database", "none", "--request-timeout", "300"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stdout[-8000:] + done.stderr
