"""`gpt2 tokenize` on files of any size: binary formats, invalid bytes, interruptions, views."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from bpe_oracles import TIKTOKEN
from conftest import COMMAND, Gpt2
from terminal import show

pytestmark = pytest.mark.slow

TEXT = "".join(f"Line {n} of naïve text, 👍 it's {n * 7919 % 1000}!\n" for n in range(32_000))
INVALID = b"a\xff b\xf0\x9f c"


@cache
def ids_of_text() -> list[int]:
    return TIKTOKEN.encode_ordinary(TEXT)


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of more than one block."""
    path = tmp_path_factory.mktemp("long") / "long.txt"
    path.write_text(TEXT, "utf-8")
    assert path.stat().st_size > 1 << 20
    return path


@pytest.fixture
def broken_file(tmp_path: Path, long_file: Path) -> Path:
    """Return a file whose last byte, in a later block, is not UTF-8."""
    path = tmp_path / "broken.txt"
    path.write_bytes(long_file.read_bytes() + b"\xff")
    return path


@pytest.mark.slow
def test_a_long_file_has_the_ids_of_tiktoken(gpt2: Gpt2, long_file: Path) -> None:
    assert gpt2("tokenize", long_file).stdout == f"{' '.join(map(str, ids_of_text()))}\n".encode()
    assert gpt2("tokenize", "--count", long_file).stdout == f"{len(ids_of_text())} {long_file}\n".encode()
    assert gpt2("tokenize", "--count", stdin=TEXT.encode()).stdout == f"{len(ids_of_text())}\n".encode()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "dtype"), [("u16", "<u2"), ("u32", "<u4")])
def test_binary_ids_of_all_files_stand_one_after_the_other(
    gpt2: Gpt2, tmp_path: Path, long_file: Path, kind: str, dtype: str
) -> None:
    short = tmp_path / "short"
    short.write_text("Hello world")
    output = tmp_path / "ids.bin"
    shown = gpt2("tokenize", short, long_file, short, "--format", kind, "-o", output)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, b"", b"")
    assert np.fromfile(output, dtype).tolist() == [15496, 995, *ids_of_text(), 15496, 995]


def test_npy_is_what_numpy_loads(gpt2: Gpt2, tmp_path: Path, long_file: Path) -> None:
    gpt2("tokenize", long_file, "--format", "npy", "-o", tmp_path / "ids.npy")
    assert np.load(tmp_path / "ids.npy").tolist() == ids_of_text()


def test_text_goes_to_a_file_too(gpt2: Gpt2, tmp_path: Path) -> None:
    output = tmp_path / "ids"
    assert gpt2("tokenize", "--text", "Hello world", "-o", output).stdout == b""
    assert output.read_bytes() == b"15496 995\n"
    assert gpt2("tokenize", "--decode", output, "-o", tmp_path / "text").returncode == 0
    assert (tmp_path / "text").read_bytes() == b"Hello world"


def test_a_vocabulary_that_16_bits_cannot_hold_is_refused(gpt2: Gpt2, tmp_path: Path) -> None:
    model = tmp_path / "wide"
    model.mkdir()
    stories = Path(__file__).parents[2] / "gpt2cli" / "data" / "stories"
    (model / "tokenizer.json").write_bytes((stories / "tokenizer.json").read_bytes())
    (model / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": 70_000}))
    (model / "model.safetensors").touch()
    output = tmp_path / "ids"
    shown = gpt2("tokenize", "-m", model, "--text", "a", "--format", "u16", "-o", output)
    assert (shown.returncode, shown.stdout) == (2, b"")
    assert shown.stderr == b"Error: u16 is too small for a vocabulary of 70000. Use --format u32.\n"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_binary_needs_a_file(gpt2: Gpt2) -> None:
    shown = gpt2("tokenize", "--text", "a", "--format", "u16")
    assert (shown.returncode, shown.stdout) == (2, b"")
    assert shown.stderr == b"Error: --format writes binary, so it needs -o FILE.\n"


@pytest.mark.slow
def test_an_invalid_byte_late_in_a_file_leaves_no_output_file(
    gpt2: Gpt2, tmp_path: Path, broken_file: Path, long_file: Path
) -> None:
    before = set(tmp_path.iterdir())
    for arguments in (["--format", "u16"], []):
        shown = gpt2("tokenize", long_file, broken_file, *arguments, "-o", tmp_path / "ids")
        assert (shown.returncode, shown.stdout) == (1, b"")
        assert f"{broken_file}: the byte 0xff at offset {long_file.stat().st_size} ".encode() in shown.stderr
    assert set(tmp_path.iterdir()) == before


def test_ids_before_an_invalid_byte_late_in_a_file_end_with_a_line_end(
    gpt2: Gpt2, broken_file: Path, tmp_path: Path
) -> None:
    good = tmp_path / "good"
    good.write_text("Hello world")
    shown = gpt2("tokenize", broken_file, good)
    assert shown.returncode == 1
    first, second, end = shown.stdout.split(b"\n")
    assert list(map(int, first.split())) == ids_of_text()[: len(first.split())]
    assert (second, end) == (b"15496 995", b"")


def test_json_of_a_file_that_breaks_off_tells_so(gpt2: Gpt2, broken_file: Path) -> None:
    shown = gpt2("tokenize", "--json", "--pieces", broken_file)
    assert shown.returncode == 1
    record = json.loads(shown.stdout)
    assert record["ids"] == ids_of_text()[: record["count"]]
    assert len(record["pieces"]) == record["count"]
    assert "at offset" in record["error"]


def test_json_of_a_long_file_is_one_object(gpt2: Gpt2, long_file: Path) -> None:
    record = json.loads(gpt2("tokenize", "--json", "--pieces", long_file, long_file).stdout.splitlines()[1])
    assert (record["count"], record["ids"]) == (len(ids_of_text()), ids_of_text())
    assert record["pieces"][:3] == ["Line", " 0", " of"]
    assert len(record["pieces"]) == len(ids_of_text())


def test_invalid_bytes_are_replaced_on_request(gpt2: Gpt2) -> None:
    ids = gpt2("tokenize", "--errors", "replace", stdin=INVALID).stdout
    assert list(map(int, ids.split())) == TIKTOKEN.encode_ordinary(INVALID.decode(errors="replace"))


def test_any_bytes_come_back_the_same(gpt2: Gpt2, long_file: Path) -> None:
    data = bytes(range(256)) + long_file.read_bytes()[:300_001] + INVALID
    ids = gpt2("tokenize", "--bytes", stdin=data).stdout
    assert gpt2("tokenize", "--decode", stdin=ids).stdout == data


def test_decoding_is_exact_however_long_the_ids(gpt2: Gpt2, long_file: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids"
    gpt2("tokenize", long_file, "-o", ids)
    assert gpt2("tokenize", "--decode", ids).stdout == TEXT.encode()


def test_truncate_keeps_the_first_tokens_of_each_file(gpt2: Gpt2, long_file: Path) -> None:
    first = " ".join(map(str, ids_of_text()[:5]))
    assert gpt2("tokenize", "--truncate", "5", long_file, long_file).stdout == f"{first}\n{first}\n".encode()
    assert gpt2("tokenize", "--truncate", "9", "--text", "Hello world").stdout == b"15496 995\n"
    assert gpt2("tokenize", "--truncate", "1", "--decode", "--text", "15496 995").stdout == b"Hello"
    assert gpt2("tokenize", "--truncate", "0", "--text", "a").returncode == 2


def test_truncate_stops_reading_what_has_no_end(environment: dict[str, str]) -> None:
    with subprocess.Popen(["yes", "a b c"], stdout=subprocess.PIPE) as endless:
        shown = subprocess.run(
            [*COMMAND, "tokenize", "--truncate", "3"],
            stdin=endless.stdout,
            capture_output=True,
            env=environment,
            timeout=30,
            check=False,
        )
        endless.kill()
    assert shown.stdout == b"64 275 269\n"


def test_a_reader_that_has_enough_ends_the_command(environment: dict[str, str]) -> None:
    with subprocess.Popen(["yes", "a b c"], stdout=subprocess.PIPE) as endless:
        command = subprocess.Popen(
            [*COMMAND, "tokenize"],
            stdin=endless.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        assert command.stdout is not None
        assert command.stdout.read(9) == b"64 275 26"
        command.stdout.close()
        assert command.wait(30) == -signal.SIGPIPE
        endless.kill()
    assert command.stderr is not None
    assert command.stderr.read() == b""
    command.stderr.close()


def test_ids_of_a_pipe_come_as_its_words_do(environment: dict[str, str]) -> None:
    command = subprocess.Popen(
        [*COMMAND, "tokenize"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert command.stdin is not None
    assert command.stdout is not None
    with command.stdin, command.stdout:
        command.stdin.write(b"Hello world")
        command.stdin.flush()
        assert command.stdout.read(5) == b"15496"
        command.stdin.write(b" and")
        command.stdin.close()
        assert command.stdout.read() == b" 995 290\n"
    assert command.wait(30) == 0


def test_an_interruption_leaves_no_file(environment: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "ids"
    command = subprocess.Popen(
        [*COMMAND, "tokenize", "--format", "u16", "-o", output],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert command.stdin is not None
    assert command.stderr is not None
    with command.stdin, command.stderr:
        # More than a pipe holds: once it is written, some of it has been read.
        command.stdin.write(b"Hello world " * 100_000)
        command.stdin.flush()
        command.send_signal(signal.SIGINT)
        assert command.wait(30) == -signal.SIGINT
        assert command.stderr.read() == b""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_full_disk_is_an_error(environment: dict[str, str], long_file: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with Path("/dev/full").open("wb") as full:
        shown = subprocess.run(
            [*COMMAND, "tokenize", long_file],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment,
            check=False,
        )
    assert (shown.returncode, shown.stderr) == (1, b"Error: No space left on device.\n")


@pytest.mark.slow
def test_a_bar_shows_on_a_terminal_how_far_the_reading_is(
    environment: dict[str, str], tmp_path: Path
) -> None:
    controller, terminal = pty.openpty()
    command = subprocess.Popen(
        [*COMMAND, "tokenize", "-o", tmp_path / "ids"],
        stdin=subprocess.PIPE,
        stderr=terminal,
        env=environment | {"TERM": "xterm"},
    )
    os.close(terminal)
    assert command.stdin is not None
    drawn = b""
    with command.stdin:
        while b"MB/s" not in drawn:
            command.stdin.write(b"Hello world " * 1000)
            while select.select([controller], [], [], 0)[0]:
                drawn += os.read(controller, 1 << 16)
    assert command.wait(30) == 0
    os.close(controller)
    assert (tmp_path / "ids").read_bytes().startswith(b"15496 995 18435 995 ")


def test_no_bar_shows_elsewhere(gpt2: Gpt2, long_file: Path, tmp_path: Path) -> None:
    assert gpt2("tokenize", long_file, "-o", tmp_path / "ids").stderr == b""


def test_a_view_has_lines_between_tokens_or_shades_them(gpt2: Gpt2) -> None:
    assert gpt2("tokenize", "--view", "--text", "Hello world").stdout.decode() == "Hello│ world\n"
    shaded = gpt2("tokenize", "--view", "--color", "always", "--text", "Hello world").stdout.decode()
    assert re.sub(r"\x1b\[[\d;]*m", "", shaded) == "Hello world\n"
    assert shaded.count("\x1b[0m") == 2


@pytest.mark.parametrize(("no_color", "is_shaded"), [("", True), ("1", False)])
def test_a_view_on_a_terminal_honours_no_color(
    environment: dict[str, str], no_color: str, is_shaded: bool
) -> None:
    view = ["tokenize", "--view", "--text", "Hello world"]
    shown = show(view, environment | {"NO_COLOR": no_color, "TERM": "xterm"}, 80)
    assert ("\x1b[" in shown) == is_shaded
    assert ("│" in shown) != is_shaded


def test_a_view_in_an_html_file_is_a_page(gpt2: Gpt2, tmp_path: Path) -> None:
    page = tmp_path / "tokens.html"
    assert gpt2("tokenize", "--view", "--text", "Hello <world>\n", "-o", page).stdout == b""
    html = page.read_text("utf-8")
    assert html.startswith("<!doctype html>")
    assert '<span title="15496">Hello</span>' in html
    assert "<world>" not in html
    assert "http" not in html


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["--count", "--view"], "--count and --view"),
        (["--view", "--format", "u16"], "--view and --format"),
        (["--json", "--format", "u16"], "--json and --format"),
        (["--decode", "--bytes"], "--decode and --bytes"),
        (["--bytes", "--errors", "replace"], "--bytes and --errors"),
    ],
)
def test_conflicting_flags_are_rejected(gpt2: Gpt2, arguments: list[str], flags: str) -> None:
    shown = gpt2("tokenize", *arguments, stdin=b"a")
    assert (shown.returncode, shown.stdout) == (2, b"")
    assert shown.stderr.decode() == f"Error: {flags} exclude each other.\n"


@pytest.mark.slow
def test_much_text_needs_neither_torch_nor_awkward(environment: dict[str, str], long_file: Path) -> None:
    program = f"""
import sys
from gpt2cli.cli.app import app
app(["tokenize", "--count", {str(long_file)!r}], standalone_mode=False)
print({{"torch", "awkward", "rich"}} & set(sys.modules), "gigatoken" in sys.modules)
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environment, check=True, text=True
    )
    assert shown.stdout.splitlines() == [f"{len(ids_of_text())} {long_file}", "set() True"]


@pytest.mark.slow
def test_memory_is_bounded_in_the_length_of_a_file(
    environment: dict[str, str], tmp_path: Path, long_file: Path
) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells a peak of memory there")
    source = tmp_path / "source"
    with source.open("wb") as file:
        for _ in range(80):
            file.write(long_file.read_bytes())
    program = f"""
import pathlib
from gpt2cli.cli.app import app
app(["tokenize", "-o", {str(tmp_path / "ids")!r}, {str(source)!r}], standalone_mode=False)
print(pathlib.Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environment, check=True, text=True
    )
    assert source.stat().st_size > 100_000_000
    assert int(shown.stdout) < 180_000
