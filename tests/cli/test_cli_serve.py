"""`gpt2 serve` as a process: its streams, its signals, and what it refuses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from checkpoints import save_model_folder
from conftest import COMMAND, Gpt2, hidden


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_answers_and_dies_of_the_signal(
    environment: dict[str, str], tmp_path: Path, end: signal.Signals
) -> None:
    save_model_folder(tmp_path)
    command = [*COMMAND, "serve", "-m", str(tmp_path), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        body = json.dumps({"prompt": "Once", "max_tokens": 3, "ignore_eos": True}).encode()
        asked = Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
        with urlopen(asked) as response:
            assert json.load(response)["usage"]["completion_tokens"] == 3
        process.send_signal(end)
        out, err = process.communicate()
    assert process.returncode == -end
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"Serving {tmp_path}.")


def test_a_server_for_others_needs_a_key(gpt2: Gpt2) -> None:
    done = gpt2("serve", "-m", "stories", "--host", "0.0.0.0")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"Error: Others could use a server at 0.0.0.0. Set --api-key")
    assert gpt2("serve", "-m", "stories", "--api-key", "").returncode == 2


def test_a_port_that_is_taken_is_said_before_a_model_is_loaded(gpt2: Gpt2) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = gpt2("serve", "-m", "no-such-model", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: 127.0.0.1:%d: Address already in use." % port)


def test_what_is_missing_is_named(gpt2: Gpt2, tmp_path: Path) -> None:
    done = gpt2("serve", "-m", "stories", env=hidden(tmp_path / "none", "starlette"))
    assert done.returncode == 1
    assert done.stderr == b"Error: gpt2 serve needs starlette. Run pip install 'gpt2cli[serve]'.\n"


def test_a_server_that_is_not_there_is_an_error(gpt2: Gpt2) -> None:
    for command in (["generate", "a"], ["score", "--text", "a"], ["next", "a"]):
        done = gpt2(*command, env={"GPT2_SERVER": "http://127.0.0.1:9"})
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(b"Error: GPT2_SERVER=http://127.0.0.1:9: ")
