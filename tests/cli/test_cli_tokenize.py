"""`gpt2 tokenize` as run from a shell."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import COMMAND, Gpt2
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from gpt2cli.text.loading import bundled_tokenizer

pytestmark = pytest.mark.slow

HELLO = b"15496 995"


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    """Return a folder with a model whose tokenizer was trained here."""
    folder = tmp_path / "own"
    folder.mkdir()
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(["Hello Hello world"], trainer)
    library.save(str(folder / "tokenizer.json"))
    size = library.get_vocab_size()
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "vocab_size": size}))
    # The tokenizer is all that is read.
    (folder / "model.safetensors").touch()
    return folder


def write(folder: Path, **contents: bytes) -> list[Path]:
    paths = [folder / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    return paths


def test_ids_are_separated_by_spaces(gpt2: Gpt2) -> None:
    shown = gpt2("tokenize", "--text", "Hello world")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, HELLO + b"\n", b"")


def test_stdin_is_read_without_a_file_and_for_a_dash(gpt2: Gpt2) -> None:
    assert gpt2("tokenize", stdin=b"Hello world").stdout == HELLO + b"\n"
    assert gpt2("tokenize", "-", stdin=b"Hello world").stdout == HELLO + b"\n"


def test_the_final_line_end_is_a_token(gpt2: Gpt2) -> None:
    assert gpt2("tokenize", stdin=b"Hello world\r\n").stdout == HELLO + b" 201 198\n"


def test_each_file_has_a_line(gpt2: Gpt2, tmp_path: Path) -> None:
    shown = gpt2("tokenize", *write(tmp_path, a=b"Hello world", empty=b"", b=b"Hello"))
    assert shown.stdout == HELLO + b"\n\n15496\n"


@pytest.mark.slow
def test_counts_read_like_those_of_wc(gpt2: Gpt2, tmp_path: Path) -> None:
    a, b = write(tmp_path, a=b"Hello world", b=b"")
    assert gpt2("tokenize", "--count", a, b).stdout == f"2 {a}\n0 {b}\n2 total\n".encode()
    assert gpt2("tokenize", "--count", a).stdout == f"2 {a}\n".encode()
    assert gpt2("tokenize", "--count", stdin=b"Hello").stdout == b"1\n"


def test_pieces_are_json_strings(gpt2: Gpt2) -> None:
    text = 'Say "é"\n\t👍'
    shown = gpt2("tokenize", "--pieces", "--text", text)
    rows = [line.split("\t") for line in shown.stdout.decode().splitlines()]
    tokenizer = bundled_tokenizer()
    assert [int(token_id) for token_id, _ in rows] == tokenizer.encode(text)
    assert [json.loads(piece) for _, piece in rows[:-2]] == ["Say", ' "', "é", '"', "\n", "\t"]
    assert [json.loads(piece) for _, piece in rows[-2:]] == [r"\xf0\x9f\x91", r"\x8d"]


def test_no_token_reads_like_an_escaped_byte() -> None:
    tokenizer = bundled_tokenizer()
    assert not any(b"\\x" in tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size))


def test_json_has_an_object_a_file(gpt2: Gpt2, tmp_path: Path) -> None:
    a, b = write(tmp_path, a=b"Hello world", b=b"")
    shown = gpt2("tokenize", "--json", a, b)
    assert [json.loads(line) for line in shown.stdout.splitlines()] == [
        {"file": str(a), "count": 2, "ids": [15496, 995]},
        {"file": str(b), "count": 0, "ids": []},
    ]
    shown = gpt2("tokenize", "--json", "--pieces", "--text", "Hello world")
    assert json.loads(shown.stdout) == {
        "file": None,
        "count": 2,
        "ids": [15496, 995],
        "pieces": ["Hello", " world"],
    }
    assert json.loads(gpt2("tokenize", "--json", "--count", stdin=b"Hello").stdout) == {
        "file": None,
        "count": 1,
    }


@pytest.mark.slow
@pytest.mark.parametrize("ids", ["15496 995", "15496,995", "[15496, 995]\n", " 15496\n995\n"])
def test_decode_reads_ids_however_they_are_written(gpt2: Gpt2, ids: str) -> None:
    assert gpt2("tokenize", "--decode", "--text", ids).stdout == b"Hello world"
    assert gpt2("tokenize", "--decode", stdin=ids.encode()).stdout == b"Hello world"


def test_decode_gives_bytes_that_are_not_utf8_as_they_are(gpt2: Gpt2) -> None:
    assert gpt2("tokenize", "--decode", "--text", "8582 50256 188").stdout == b"\xf0\x9f<|endoftext|>\x00"


def test_any_text_comes_back_the_same(gpt2: Gpt2) -> None:
    text = (
        "".join(map(chr, [*range(0xD800), *range(0xE000, 0xF000), 0x1F44D, 0x10FFFF]))
        + "\r\n <|endoftext|> \n"
    )
    ids = gpt2("tokenize", stdin=text.encode()).stdout
    assert gpt2("tokenize", "--decode", stdin=ids).stdout == text.encode()


def test_end_of_text_is_plain_text_unless_special(gpt2: Gpt2) -> None:
    assert gpt2("tokenize", "--text", "<|endoftext|>").stdout == b"27 91 437 1659 5239 91 29\n"
    assert gpt2("tokenize", "--special", "--text", "<|endoftext|>").stdout == b"50256\n"


def test_a_model_brings_its_own_tokenizer(gpt2: Gpt2, own_model: Path) -> None:
    ids = gpt2("tokenize", "-m", own_model, "--special", "--text", "<|endoftext|>Hello").stdout
    assert ids.startswith(b"0 ")
    assert (
        ids
        == gpt2(
            "tokenize", "--special", stdin=b"<|endoftext|>Hello", env={"GPT2_MODEL": str(own_model)}
        ).stdout
    )
    assert gpt2("tokenize", "-m", own_model, "--decode", stdin=ids).stdout == b"<|endoftext|>Hello"


def test_known_models_need_not_be_here(gpt2: Gpt2) -> None:
    shown = gpt2("tokenize", "-m", "gpt2-xl", "--text", "Hello world")
    assert (shown.stdout, shown.stderr) == (HELLO + b"\n", b"")


def test_a_model_that_is_not_here_is_an_error_offline(gpt2: Gpt2) -> None:
    shown = gpt2("tokenize", "-m", "owner/name", "--offline", "--text", "Hello")
    assert (shown.returncode, shown.stdout) == (1, b"")
    assert shown.stderr.startswith(b"Error: owner/name is not on this machine")


def test_files_that_cannot_be_read_do_not_stop_the_others(gpt2: Gpt2, tmp_path: Path) -> None:
    good, bad = write(tmp_path, good=b"Hello world", bad=b"a\xff")
    shown = gpt2("tokenize", "--count", good / "x", bad, tmp_path / "missing", good, "-q")
    assert (shown.returncode, shown.stdout) == (1, f"2 {good}\n2 total\n".encode())
    assert shown.stderr.decode().splitlines() == [
        f"Error: {good}/x: Not a directory.",
        f"Error: {bad}: the byte 0xff at offset 1 is not valid UTF-8. Convert the text with iconv.",
        f"Error: {tmp_path}/missing: No such file or directory. To pass text itself, use --text.",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (b"15496 x 995", "'x' is not a token id. Ids are whole numbers."),
        (b"-1", "'-1' is not a token id. Ids are whole numbers."),
        ("²".encode(), "'²' is not a token id. Ids are whole numbers."),
        (b"1" * 5000, f"'{'1' * 40}' is not a token id. Ids are whole numbers."),
        (b"50257", "There is no token 50257. Ids range from 0 to 50256."),
    ],
)
def test_what_is_not_a_token_id_is_named(gpt2: Gpt2, tmp_path: Path, ids: bytes, message: str) -> None:
    (file,) = write(tmp_path, ids=ids)
    shown = gpt2("tokenize", "--decode", file)
    assert (shown.returncode, shown.stdout) == (1, b"")
    assert shown.stderr.decode() == f"Error: {file}: {message}\n"


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (["a", "--text", "b"], "FILE and --text"),
        (["--count", "--pieces"], "--count and --pieces"),
        (["--decode", "--count"], "--decode and --count"),
        (["--decode", "--pieces"], "--decode and --pieces"),
        (["--decode", "--json"], "--decode and --json"),
        (["--decode", "--special"], "--decode and --special"),
    ],
)
def test_conflicting_flags_are_rejected(gpt2: Gpt2, arguments: list[str], flags: str) -> None:
    shown = gpt2("tokenize", *arguments, stdin=b"a")
    assert (shown.returncode, shown.stdout) == (2, b"")
    assert shown.stderr.decode() == f"Error: {flags} exclude each other.\n"


def test_a_terminal_on_stdin_is_rejected_with_a_hint(environment: dict[str, str]) -> None:
    controller, terminal = pty.openpty()
    shown = subprocess.run(
        [*COMMAND, "tokenize"], stdin=terminal, capture_output=True, env=environment, timeout=30, check=False
    )
    os.close(controller)
    os.close(terminal)
    assert (shown.returncode, shown.stdout) == (2, b"")
    assert b"standard input is a terminal. Name a FILE" in shown.stderr


def test_closed_streams_are_errors(environment: dict[str, str]) -> None:
    command = f"exec {shlex.join(COMMAND)} tokenize"
    for redirection, code, message in [
        ("<&-", 2, b"Error: standard input is closed. Name a FILE, use --text, or pipe text in.\n"),
        ("- <&-", 2, b"Error: standard input is closed.\n"),
        ("--text a >&-", 1, b"Error: standard output is closed.\n"),
    ]:
        shown = subprocess.run(
            ["/bin/sh", "-c", f"{command} {redirection}"], capture_output=True, env=environment, check=False
        )
        assert (shown.returncode, shown.stderr) == (code, message)


def test_tokenizing_imports_neither_torch_nor_numpy_nor_rich(environment: dict[str, str]) -> None:
    program = """
import sys
from gpt2cli.cli.app import app
app(["tokenize", "--text", "Hello"], standalone_mode=False)
print({"torch", "numpy", "gigatoken", "rich", "huggingface_hub", "transformers"} & set(sys.modules))
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environment, check=True, text=True
    )
    assert shown.stdout.splitlines() == ["15496", "set()"]
