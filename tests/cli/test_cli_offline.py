"""Commands that need no network open no socket: the kernel ends a process that tries."""

from __future__ import annotations

import ctypes
import platform
import signal
import struct
import sys
from pathlib import Path

import pytest
from checkpoints import save_model_folder
from conftest import run_limited

SOCKET = {"x86_64": 41, "aarch64": 198}.get(platform.machine())
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or SOCKET is None, reason="needs seccomp on x86-64 or Arm"),
]


def open_no_socket() -> None:
    """Have the kernel end this process with SIGSYS if it asks for a socket, from Python or not."""
    program = [
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, SOCKET),
        (RETURN, 0, 0, KILL_PROCESS),
        (RETURN, 0, 0, ALLOW),
    ]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in program))
    described = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(filters)))
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(PR_SET_SECCOMP, MODE_FILTER, described, 0, 0) == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model_folder(folder, n_positions=16)
    (folder / "text").write_text("Once upon a time\n")
    return folder


COMMANDS: dict[str, tuple[list[str], int]] = {
    "generate": (["generate", "Once", "-m", "MODEL", "-n", "2", "--quantize", "int8"], 0),
    "score": (["score", "TEXT", "-m", "MODEL"], 0),
    "tokenize": (["tokenize", "TEXT"], 0),
    "models verify": (["models", "verify", "MODEL"], 0),
    "a missing model": (["generate", "Once", "-m", "gpt2", "--offline"], 1),
    "a download": (["download", "gpt2", "--offline"], 1),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_local_model_and_offline_open_no_socket(
    name: str, environment: dict[str, str], model: Path
) -> None:
    words, code = COMMANDS[name]
    names = {"MODEL": model, "TEXT": model / "text"}
    arguments = [str(names.get(word, word)) for word in words]
    done = run_limited(arguments, environment, open_no_socket)
    assert done.returncode == code, done.stderr


def test_a_download_would_have_been_noticed(environment: dict[str, str]) -> None:
    assert run_limited(["download", "gpt2"], environment, open_no_socket).returncode == -signal.SIGSYS
