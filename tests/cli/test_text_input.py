"""Reading a prompt, in a separate process with real pipes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from gpt2cli.cli.input import text as text_input
from gpt2cli.cli.input.text import STDIN_IGNORED
from gpt2cli.errors import UsageError

PROGRAM = """
import json, sys
from pathlib import Path
from gpt2cli.cli.input.text import read_prompt
from gpt2cli.errors import Error

prompt, file, keep_newline = json.loads(sys.argv[1])
notes = []
try:
    text = read_prompt(prompt, file and Path(file), keep_newline, notes.append)
    print(json.dumps({"text": text, "notes": notes}))
except Error as error:
    print(json.dumps({"error": str(error), "code": error.exit_code}))
"""


def read_prompt(
    prompt: str | None = None,
    file: Path | str | None = None,
    keep_newline: bool = False,
    stdin: bytes | int | IO[bytes] = b"",
) -> dict[str, Any]:
    arguments = json.dumps([prompt, file and str(file), keep_newline])
    command = [sys.executable, "-c", PROGRAM, arguments]
    given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    shown = subprocess.run(command, capture_output=True, check=True, timeout=30, **given)
    result: dict[str, Any] = json.loads(shown.stdout)
    return result


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"a", "a"),
        (b"a\n", "a"),
        (b"a\r\n", "a"),
        (b"a\n\n", "a\n"),
        (b"a\n\r\n", "a\n"),
        (b"a\r", "a\r"),
        (b"\n", ""),
        (b"\xef\xbb\xbf a\r\nb ", " a\r\nb "),
    ],
)
def test_one_final_line_end_of_stdin_is_dropped(data: bytes, text: str) -> None:
    assert read_prompt(stdin=data) == {"text": text, "notes": []}


def test_keep_newline_keeps_the_final_line_end() -> None:
    assert read_prompt("-", keep_newline=True, stdin=b"a\r\n")["text"] == "a\r\n"


def test_a_prompt_is_taken_as_it_is() -> None:
    assert read_prompt("a\n") == {"text": "a\n", "notes": []}
    assert read_prompt("") == {"text": "", "notes": []}


def test_a_prompt_beside_bytes_in_a_pipe_is_noted() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"ignored")
    assert read_prompt("a", stdin=reader) == {"text": "a", "notes": [STDIN_IGNORED]}
    assert os.read(reader, 100) == b"ignored"
    os.close(reader)
    os.close(writer)


def test_a_prompt_beside_an_open_empty_pipe_does_not_wait() -> None:
    reader, writer = os.pipe()
    assert read_prompt("a", stdin=reader) == {"text": "a", "notes": []}
    os.close(reader)
    os.close(writer)


def test_a_prompt_from_a_file_loses_one_line_end_too(tmp_path: Path) -> None:
    file = tmp_path / "prompt"
    file.write_bytes(b"Once\n\n")
    assert read_prompt(file=file, stdin=b"ignored")["text"] == "Once\n"
    assert read_prompt(file=file, keep_newline=True)["text"] == "Once\n\n"
    assert read_prompt(file="-", stdin=b"piped\n")["text"] == "piped"


def test_a_prompt_and_a_file_exclude_each_other() -> None:
    assert read_prompt("-", file="f") == {
        "error": "PROMPT and --file exclude each other. Give one of them.",
        "code": 2,
    }


def test_a_terminal_is_read_only_when_asked_for() -> None:
    controller, terminal = pty.openpty()
    refused = read_prompt(stdin=terminal)
    assert refused["code"] == 2
    assert refused["error"].startswith(
        "There is nothing to read: standard input is a terminal. Give a PROMPT"
    )
    os.write(controller, b"typed\n\x04")
    assert read_prompt("-", stdin=terminal)["text"] == "typed"
    os.close(controller)
    os.close(terminal)


@pytest.mark.parametrize("data", [b"ab\xff", b"ab\xf0\x9f\x91"])
def test_the_first_byte_that_is_not_utf8_is_named(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "latin1"
    file.write_bytes(data)
    where = f"the byte 0x{data[2]:02x} at offset 2 is not valid UTF-8."
    assert read_prompt(stdin=data)["error"].startswith(f"standard input: {where}")
    assert read_prompt(file=file) == {
        "error": f"{file}: {where} Convert the text with iconv.",
        "code": 2,
    }


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    assert read_prompt(file=tmp_path)["error"] == f"{tmp_path}: Is a directory."
    missing = tmp_path / "missing"
    assert read_prompt(file=missing)["error"] == f"{missing}: No such file or directory."


def test_errors_call_the_text_as_the_command_does() -> None:
    with pytest.raises(UsageError, match=r"^TEXT and --file exclude each other"):
        text_input.read_prompt("a", "f", False, lambda note: None, "TEXT")
