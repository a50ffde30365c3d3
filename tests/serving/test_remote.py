"""Commands that ask a server print what they print alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backends import CPU_DEFAULT
from checkpoints import save_model_folder
from conftest import COMMAND
from servers import Running, running

import gpt2cli
from gpt2cli.errors import Error, UsageError
from gpt2cli.generation.settings import CompletionSettings
from gpt2cli.language_model import LanguageModel
from gpt2cli.ops.compute import Compute
from gpt2cli.scoring.report import Report
from gpt2cli.scoring.settings import NextSettings, ScoringSettings
from gpt2cli.serving.http.limits import Limits
from gpt2cli.serving.remote.connection import ServerConnection
from gpt2cli.serving.remote.model import RemoteModel

PROMPT = "Once 🙂 upon"
TEXT = "def save(path):\n    return café 🙂\r\n" * 6
RUN = """
import atexit, sys
from gpt2cli.__main__ import main
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
sys.argv[0] = "gpt2"
main()
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("model")
    save_model_folder(folder, n_positions=64)
    (folder / "generation_config.json").write_text('{"temperature": 0.5, "do_sample": true}')
    return gpt2cli.load(str(folder), threads=1, backend=CPU_DEFAULT)


@pytest.fixture(scope="module")
def server(model: LanguageModel) -> Iterator[Running]:
    with running(model, Limits(body_bytes=1 << 20)) as found:
        yield found


@pytest.fixture
def remote(server: Running) -> RemoteModel:
    return RemoteModel(server.url, None, None, Compute())


@pytest.mark.parametrize("url", ["http://[", "http://h:99999", "http://\x1b[5m", "http://\u2100/", "ftp://h"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is not the address of a server"):
        ServerConnection(url)


def test_a_password_in_an_address_is_not_shown() -> None:
    for url in ("http://me:secret@127.0.0.1:1", "http://me:secret@127.0.0.1:1/path"):
        with pytest.raises(Error) as raised:
            list(ServerConnection(url).ask("model", {}))
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"logprobs": 2, "stop": ["e"], "keep_stop": True},
        {"speculate": True, "temperature": 0.1, "max_tokens": 40},
        {"best_of": 5, "temperature": 0.9, "bias": {" the": 2.0}, "ban": ["a"]},
        {"overflow": "slide", "max_tokens": 100, "ignore_eos": True},
        {"bos": True, "min_tokens": 3, "stop_at": "sentence", "no_repeat_ngram": 3},
    ],
    ids=str,
)
def test_samples_are_those_of_the_model(
    model: LanguageModel, remote: RemoteModel, settings: dict[str, Any]
) -> None:
    chosen = CompletionSettings(**{"seed": 5, "max_tokens": 12, **settings})
    runs = [opened.continuation(PROMPT, chosen, 3, 2) for opened in (model, remote)]
    assert runs[0].report({}) == runs[1].report({})
    seen: list[Any] = []
    for run in runs:
        texts: dict[int, str] = {}
        samples: dict[int, Any] = {}
        for batch in run.batches():
            for piece in batch:
                texts[piece.sample] = texts.get(piece.sample, "") + piece.text
            samples |= {
                number: (
                    made.text,
                    [token.id for token in made.tokens],
                    made.finish_reason,
                    made.usage,
                    made.drafts and vars(made.drafts),
                    made.mean_logprob,
                    made.logprobs_table() if chosen.logprobs else None,
                )
                for number, made in batch.completions.items()
            }
        seen.append((texts, samples))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("by", ["token", "word", "line", "document"])
@pytest.mark.parametrize(
    "settings", [{}, {"bos": False, "newlines": "lf", "window": 16, "stride": 5}], ids=str
)
def test_scores_are_those_of_the_model(
    model: LanguageModel, remote: RemoteModel, by: Any, settings: dict[str, Any]
) -> None:
    sources = [("a", TEXT), ("b", "One"), ("c", "")]
    chosen = ScoringSettings(**settings)
    reports = [
        Report(opened.scoring(chosen), by, None, has_files=True, newlines=chosen.newlines)
        for opened in (model, remote)
    ]
    assert reports[0].scoring.metadata == reports[1].scoring.metadata
    assert list(reports[0].records(sources)) == list(reports[1].records(sources))


def test_a_protocol_measures_as_with_the_model(model: LanguageModel, remote: RemoteModel) -> None:
    chosen = ScoringSettings(protocol="lm-eval")
    reports = [Report(opened.scoring(chosen), "document") for opened in (model, remote)]
    assert list(reports[0].records([(None, TEXT)])) == list(reports[1].records([(None, TEXT)]))


@pytest.mark.parametrize(
    "settings", [{"top": 7}, {"candidates": [" the", " cat, sat"], "bos": True}], ids=str
)
def test_what_follows_is_what_the_model_says(
    model: LanguageModel, remote: RemoteModel, settings: dict[str, Any]
) -> None:
    chosen = NextSettings(**settings)
    alone, asked = (opened.continuations(PROMPT, chosen) for opened in (model, remote))
    assert alone.rows() == asked.rows()
    for name in ("truncated", "starts_with_bos"):
        assert getattr(alone, name) == getattr(asked, name)
    assert len(alone.ids) == len(asked.ids)


def test_many_texts_are_asked_for_in_parts(model: LanguageModel, remote: RemoteModel) -> None:
    texts = [(number, f"text {number} " * (number % 5)) for number in range(150)]
    alone, asked = (opened.scoring(ScoringSettings()).summaries(texts) for opened in (model, remote))
    assert list(alone) == list(asked)


def test_an_error_of_the_model_is_the_same_error_here(model: LanguageModel, remote: RemoteModel) -> None:
    too_long, wide = "a b " * 100, ScoringSettings(window=1000)
    messages = set()
    for opened in (model, remote):
        with pytest.raises(UsageError, match="context holds 64"):
            opened.continuation(too_long, CompletionSettings())
        with pytest.raises(UsageError) as raised:
            opened.scoring(wide)
        messages.add(str(raised.value))
    assert len(messages) == 1


def test_one_sample_without_a_token_left_does_not_end_the_server(
    server: Running, remote: RemoteModel
) -> None:
    settings = CompletionSettings(no_repeat_ngram=1, max_tokens=1000, overflow="slide", ignore_eos=True)
    run = remote.continuation("a", settings, 1, 1)
    (batch,) = run.batches()
    with pytest.raises(Error, match="Every token is banned here"):
        list(batch)
    assert server.complete(prompt="a").status == 200


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("generate", {"settings": {"temperature": "hot"}, "prompt": "a"}),
        ("generate", {"settings": {"made_up": 1}, "prompt": "a"}),
        ("generate", {"settings": [], "prompt": "a"}),
        ("generate", {"settings": {}, "prompt": 5}),
        ("generate", {"settings": {}, "prompt": "a", "first": -1}),
        ("score", {"settings": {}, "texts": [{}]}),
        ("score", {"settings": {}, "texts": [{"content": 1}]}),
        ("score", {"settings": {}, "texts": [{"content": "a", "crlf": ["b"]}]}),
        ("score", {"settings": {"window": "wide"}, "texts": []}),
        ("score", {"settings": {}, "texts": "a"}),
        ("next", {"settings": {"candidates": [1]}, "text": "a"}),
        ("next", {"settings": {"top": True}, "text": "a"}),
        ("next", {"settings": {}}),
        ("unknown", {}),
        ("model", {"name": 5}),
    ],
    ids=str,
)
def test_a_lying_client_is_told_so(server: Running, name: str, body: dict[str, Any]) -> None:
    reply = server.ask(f"/gpt2/{name}", body)
    assert reply.status == 400
    assert reply.error["message"]


def test_a_choice_that_the_server_has_made_is_refused(server: Running) -> None:
    with pytest.raises(UsageError, match="`threads` is the choice of the server"):
        RemoteModel(server.url, None, None, Compute(threads=2))
    with pytest.raises(UsageError, match=r"serves '.*', not 'gpt2-xl'"):
        RemoteModel(server.url, None, "gpt2-xl", Compute())


def test_what_is_no_server_is_named() -> None:
    for url in ("ftp://127.0.0.1", "127.0.0.1:80", "http://127.0.0.1:x", "http://127.0.0.1/path"):
        with pytest.raises(UsageError, match="is not the address of a server"):
            RemoteModel(url, None, None, Compute())
    with pytest.raises(Error, match=r"GPT2_SERVER=http://127\.0\.0\.1:9: .*Start it with gpt2 serve"):
        RemoteModel("http://127.0.0.1:9", None, None, Compute())


def test_a_server_with_a_key_wants_it(model: LanguageModel) -> None:
    with running(model, api_key="sesame") as server:
        with pytest.raises(Error, match="Set GPT2_API_KEY"):
            RemoteModel(server.url, None, None, Compute())
        assert RemoteModel(server.url, "sesame", None, Compute()).files.name == model.files.name


@pytest.fixture(scope="module")
def bare() -> set[str]:
    """Return the modules of a command that does nothing."""
    done = subprocess.run([sys.executable, "-c", RUN, "--version"], capture_output=True, check=True)
    return set(done.stderr.decode().split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "Once <|endoftext|>", "-n", "9", "-s", "3"],
        ["score", "--text", "Once 🙂 upon", "--by", "word", "--json"],
        ["next", "Once", "-k", "3"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_command_prints_the_same_and_loads_nothing_heavy(
    server: Running, model: LanguageModel, environment: dict[str, str], bare: set[str], arguments: list[str]
) -> None:
    alone = subprocess.run(
        [*COMMAND, *arguments, "-m", model.files.name], env=environment, capture_output=True, check=True
    )
    asked = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        env=environment | {"GPT2_SERVER": server.url},
        capture_output=True,
        check=True,
    )
    *notes, modules = asked.stderr.decode().splitlines()
    assert asked.stdout == alone.stdout
    assert notes == alone.stderr.decode().splitlines()
    loaded = set(modules.split())
    assert not {"numpy", "tokenizers", "rich", "torch", "huggingface_hub", "starlette"} & loaded
    # Its start is all that a user waits for.
    own = loaded - bare
    assert {name for name in own if not name.startswith(("gpt2cli", "json", "_"))} <= {
        *("socket", "array", "termios", "bisect")
    }
    assert len(own) < 70


def test_a_reader_that_goes_away_ends_the_sample_on_the_server(
    server: Running, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [*COMMAND, "generate", "a", "-n", "100000", "--ignore-eos", "--overflow", "slide"]
    with subprocess.Popen(
        command, env=environment | {"GPT2_SERVER": server.url}, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(5)
        process.stdout.close()
    while server.metric("gpt2_samples"):
        pass
