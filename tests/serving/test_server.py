"""A server among clients that are strange, slow, gone or too many."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from backends import CPU_DEFAULT
from checkpoints import save_model_folder
from servers import Reply, Running, running

import gpt2cli
from gpt2cli.errors import UsageError
from gpt2cli.language_model import LanguageModel
from gpt2cli.serving.http.limits import Limits
from gpt2cli.serving.http.page import PAGE

LIMITS = Limits(batch_size=2, queue=2, body_bytes=4096, seconds=30)
# So many tokens that a request does not end by itself while a test looks at it.
ENDLESS = {"prompt": "Once", "max_tokens": 10**9, "ignore_eos": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("model")
    # With a context this long, a request is at work for seconds.
    save_model_folder(folder, n_positions=4096)
    return gpt2cli.load(str(folder), threads=1, backend=CPU_DEFAULT)


@pytest.fixture(scope="module")
def server(model: LanguageModel) -> Iterator[Running]:
    with running(model, LIMITS) as found:
        yield found


def begin(server: Running, **fields: Any) -> Any:
    """Return a connection on which an endless stream has begun."""
    data = json.dumps({**ENDLESS, "stream": True, **fields}).encode()
    connection = server.connect()
    head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def wait_until_free(server: Running) -> None:
    """Wait until no sample is left; a test that waits forever is ended by its time limit."""
    while server.metric("gpt2_samples"):
        pass


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:99"}, 200),
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "evil.example"}, 400),
        ({"Host": "localhost.evil.example"}, 400),
        ({"Host": "10.0.0.1"}, 400),
        ({"Host": "[::1"}, 400),
        ({"Host": ""}, 400),
    ],
    ids=str,
)
def test_only_names_of_this_machine_are_answered(
    server: Running, headers: dict[str, str], status: int
) -> None:
    assert server.ask("/health", headers=headers).status == status


def test_only_json_is_read_and_no_other_site_is_let_in(server: Running) -> None:
    body = json.dumps({"prompt": "a"}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert server.ask("/v1/completions", body, {"Content-Type": kind}).status == 415
    assert (
        server.ask("/v1/completions", body, {"Content-Type": "application/json; charset=utf-8"}).status == 200
    )
    reply = server.ask("/v1/completions", method="OPTIONS", headers={"Origin": "http://evil.example"})
    assert reply.status == 405
    reply = server.ask("/v1/models", headers={"Origin": "http://evil.example"})
    assert not [name for name in reply.headers if name.lower().startswith("access-control")]
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"prompt": "\xff"}', b'{"prompt": NaN}', b"[" * 2000, b'{"a": 1, "a": 2}'],
    ids=repr,
)
def test_what_is_no_object_is_refused_without_harm(server: Running, body: bytes) -> None:
    reply = server.ask("/v1/completions", body)
    assert (reply.status, reply.error["type"]) == (400, "invalid_request_error")
    assert server.ask("/tokenize", body).status == 400


def test_a_lone_surrogate_is_refused(server: Running) -> None:
    assert server.ask("/v1/completions", b'{"prompt": "\\ud800"}').status == 400
    assert server.ask("/tokenize", b'{"prompt": "\\ud800"}').status == 400


def test_a_large_body_is_refused_whether_its_length_is_told_or_not(server: Running) -> None:
    body = json.dumps({"prompt": "a" * LIMITS.body_bytes}).encode()
    assert server.ask("/v1/completions", body).status == 413
    with server.connect() as connection:
        head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        part = b"400\r\n" + b"a" * 1024 + b"\r\n"
        connection.sendall(part * 5)
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_other_paths_and_methods_are_refused_in_json(server: Running) -> None:
    assert server.ask("/nothing").error["message"]
    assert server.ask("/v1/completions").status == 405
    assert server.ask("/v1/chat/completions", {}).error["message"].endswith("Use /v1/completions.")
    assert (server.ask("/nothing").status, server.ask("/v1/chat/completions", {}).status) == (404, 404)


def test_the_tokenizer_routes_are_those_that_lm_eval_asks(server: Running, model: LanguageModel) -> None:
    text = "Once 🙂 upon\n"
    ids = server.ask("/tokenize", {"prompt": text, "add_special_tokens": False}).value["tokens"]
    assert ids == model.tokenizer.encode(text)
    assert server.ask("/detokenize", {"tokens": ids}).value == {"prompt": text}
    end = server.ask("/tokenize", {"prompt": "<|endoftext|>"}).value["tokens"]
    assert end == [model.tokenizer.eos_id]
    assert server.ask("/tokenizer_info").value["eos_token"] == "<|endoftext|>"
    assert server.ask("/detokenize", {"tokens": [10**6]}).status == 400
    assert server.ask("/detokenize", {"tokens": "a"}).error["param"] == "tokens"
    assert server.ask("/tokenize", {"text": "a"}).error["param"] == "text"


def test_a_client_that_goes_away_frees_its_place(server: Running) -> None:
    # All rows and the queue are taken, so that none is left unless the others are freed.
    for _ in range(3):
        connections = [begin(server) for _ in range(2)]
        assert server.metric("gpt2_samples") == 2
        for connection in connections:
            connection.close()
        wait_until_free(server)


def test_a_client_that_goes_away_is_noticed_before_anything_is_sent(server: Running) -> None:
    data = json.dumps(ENDLESS).encode()
    with server.connect() as connection:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)
        while not server.metric("gpt2_samples"):
            pass
    wait_until_free(server)


def test_too_many_samples_are_refused_until_there_is_room(server: Running) -> None:
    connections = [begin(server), begin(server)]
    waiting = [threading.Thread(target=server.complete, kwargs={"prompt": "a"}) for _ in range(2)]
    for thread in waiting:
        thread.start()
    while server.metric("gpt2_samples") < LIMITS.samples:
        pass
    reply = server.complete(prompt="a")
    assert (reply.status, reply.error["code"]) == (429, "queue_full")
    assert int(reply.headers["retry-after"]) > 0
    for connection in connections:
        connection.close()
    for thread in waiting:
        thread.join()
    assert server.complete(prompt="a").status == 200
    never = server.complete(prompt="a", n=LIMITS.samples + 1)
    assert (never.status, never.error["param"]) == (400, "n")


def test_a_reader_that_stops_reading_stalls_nobody(server: Running) -> None:
    with begin(server, logprobs=100, return_token_ids=True):
        for _ in range(3):
            assert server.complete(prompt="a", max_tokens=5).status == 200
    wait_until_free(server)


@pytest.mark.slow
def test_an_answer_that_takes_too_long_is_ended(model: LanguageModel) -> None:
    with running(model, Limits(seconds=0.2)) as server:
        reply = server.complete(**ENDLESS)
        assert (reply.status, reply.error["code"]) == (503, "timeout")
        body = server.complete(**ENDLESS, stream=True).body
        assert json.loads(body.rpartition(b"data: ")[2])["error"]["code"] == "timeout"
        with server.connect() as connection:
            head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            connection.sendall(head + b"Content-Length: 100\r\n\r\n{")
            assert connection.recv(12) == b"HTTP/1.1 408"
        wait_until_free(server)


def test_a_server_with_a_key_tells_nothing_without_it(model: LanguageModel) -> None:
    with running(model, api_key="sesame", any_address=True) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic sesame"}):
            for path in ("/v1/models", "/metrics", "/openapi.json", "/nothing"):
                reply = server.ask(path, headers=headers)
                assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
                assert reply.headers["www-authenticate"] == "Bearer"
        assert server.ask("/v1/models", headers={"Authorization": "bearer sesame"}).status == 200
        assert server.ask("/health").status == server.ask("/").status == 200
        key = {"Authorization": "Bearer sesame"}
        assert server.ask("/v1/models", headers={**key, "Host": "10.0.0.7"}).status == 200
        assert server.ask("/v1/models", headers={**key, "Host": "evil.example"}).status == 400


def test_a_stopping_server_finishes_what_it_answers(model: LanguageModel) -> None:
    replies: list[Reply] = []
    with running(model, Limits(grace=60)) as server:
        fields = {"prompt": "Once", "max_tokens": 200, "ignore_eos": True}
        thread = threading.Thread(target=lambda: replies.append(server.complete(**fields)))
        thread.start()
        while not server.metric("gpt2_samples"):
            pass
    thread.join()
    assert replies[0].value["usage"]["completion_tokens"] == 200


@pytest.mark.slow
def test_a_stopping_server_does_not_wait_for_what_never_ends(model: LanguageModel) -> None:
    with running(model, Limits(grace=0)) as server:
        connection = begin(server)
    while connection.recv(1 << 16):
        pass
    connection.close()


def test_a_failing_step_fails_its_requests_and_no_later_ones(
    server: Running, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr("gpt2cli.generation.engine.choose_each", fail)
        assert server.complete(prompt="a").status == 500
        body = server.complete(prompt="a", echo=True, stream=True).body
        assert b'"type":"server_error"' in body
    assert server.complete(prompt="a").status == 200
    wait_until_free(server)


def test_counts_are_kept_by_route_and_status(model: LanguageModel) -> None:
    with running(model) as server:
        server.complete(prompt="a", max_tokens=3, ignore_eos=True)
        server.complete(prompt="a", temperature=-1)
        server.ask("/a/path/of/ones/own")
        counts = {
            (route, status): server.metric(f'gpt2_requests_total{{route="{route}",status="{status}"}}')
            for route, status in (("/v1/completions", 200), ("/v1/completions", 400), ("other", 404))
        }
        assert set(counts.values()) == {1.0}
        assert server.metric("gpt2_completion_tokens_total") == 3
        assert server.metric("gpt2_prompt_tokens_total") == 1


def test_the_page_may_run_and_load_nothing_but_itself(server: Running) -> None:
    reply = server.ask("/")
    assert reply.body == PAGE
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2
    # Nothing is loaded from elsewhere, and no attribute would need a policy that is less strict.
    assert not re.search(rb"https?://|\son\w+=|\sstyle=|<script [^>]*src", PAGE)


def test_the_description_names_every_route(server: Running) -> None:
    described = server.ask("/openapi.json").value
    assert described["openapi"].startswith("3.1")
    for path, methods in described["paths"].items():
        for method in methods:
            reply = server.ask(path, {} if method == "post" else None)
            assert str(reply.status) in methods[method]["responses"]


def test_limits_are_checked() -> None:
    for values in (
        {"batch_size": 0},
        {"queue": -1},
        {"body_bytes": 1},
        {"seconds": 0},
        {"grace": -1},
        {"kv_memory": 0},
    ):
        (name,) = values
        with pytest.raises(UsageError, match=f"`{name}` must be"):
            Limits(**values)
