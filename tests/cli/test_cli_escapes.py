"""What is not ours is shown on a terminal, and never obeyed: names, values, tokens, texts."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from pathlib import Path

import pytest
from checkpoints import save_model_folder
from conftest import Gpt2
from hypothesis import example, given
from hypothesis import strategies as st
from terminal import Terminal, show

from gpt2cli.benchmark.report import quality_table
from gpt2cli.cli.commands import bench
from gpt2cli.cli.options.bench import ReportOptions
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.rows import RowOutput
from gpt2cli.cli.output.streams import json_line, write_path
from gpt2cli.cli.output.terminal.spelled_controls import spelled_controls
from gpt2cli.text.json_text import json_text
from gpt2cli.text.printable import visible

ODD = "\x1b[31mred\n\x9b5m\x7f\u202e[/b]"
SPELLED = r"\x1b[31mred\n\x9b5m\x7f\u202e[/b]"
OBEYED = ["\x1b[31m", "\x9b", "\x7f", "\u202e", "\r", "\0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("escapes") / ODD
    save_model_folder(folder, n_positions=64)
    return folder


def is_safe(output: bytes) -> bool:
    return not any(character in output.decode() for character in OBEYED)


@pytest.mark.parametrize(
    "words",
    [
        ["tokenize", ODD],
        pytest.param(["score", ODD, "-m", "stories"], marks=pytest.mark.slow),
        ["generate", "Once", "-m", ODD],
        pytest.param(["models", "show", ODD], marks=pytest.mark.slow),
        ["generate", "Once", "--top-k", ODD],
        pytest.param(["generate", "Once", f"--{ODD}"], marks=pytest.mark.slow),
        pytest.param([ODD], marks=pytest.mark.slow),
    ],
    ids=lambda words: " ".join(words[:2]).encode("unicode_escape").decode(),
)
def test_an_error_is_one_line_that_spells_what_is_odd(gpt2: Gpt2, words: list[str]) -> None:
    done = gpt2(*words)
    assert done.returncode in (1, 2)
    assert is_safe(done.stderr)
    assert done.stderr.startswith(b"Error: ")
    assert done.stderr.count(b"\n") == 1
    assert r"\x1b[31mred" in done.stderr.decode()


def test_several_files_that_are_missing_are_a_line_each(gpt2: Gpt2) -> None:
    done = gpt2("tokenize", ODD, ODD)
    assert is_safe(done.stderr)
    assert done.stderr.decode().count(f"Error: {SPELLED}: ") == 2
    assert done.stderr.count(b"\n") == 2


@pytest.mark.slow
def test_a_damaged_tensor_is_named_safely(gpt2: Gpt2, folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / ODD
    shutil.copytree(folder, broken)
    (broken / "config.json").write_text(json.dumps({"model_type": ODD}))
    for words in (["models", "show", broken], ["generate", "Once", "-m", broken]):
        done = gpt2(*words)
        assert done.returncode == 1
        assert is_safe(done.stderr)
        assert done.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_tables_and_json_spell_what_is_odd(
    gpt2: Gpt2, folder: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    for words in (["models", "show", folder], ["models", "verify", folder]):
        done = gpt2(*words)
        assert done.returncode == 0
        assert is_safe(done.stdout)
        assert SPELLED in done.stdout.decode()
        printed = gpt2(*words, "--json").stdout
        assert is_safe(printed)
        value = json.loads(printed)
        assert ODD in (value if isinstance(value, dict) else value[0])["path"]
    text = tmp_path / ODD.replace("/", "")
    text.write_text("One\n")
    arguments = ["tokenize", "--count", str(text)]
    assert gpt2(*arguments).stdout.endswith(f"{text}\n".encode())
    assert lines(show(arguments, environment, 200)).endswith(f"/{SPELLED.replace('/', '')}\n")


@pytest.mark.slow
def test_decoded_text_on_a_terminal_is_spelled_unless_raw(gpt2: Gpt2, environment: dict[str, str]) -> None:
    text = "a\x1b[31mb\x9bc\x7fd\u202ee\tf\r\ng\n"
    ids = json.loads(gpt2("tokenize", "--text", text, "--json").stdout)["ids"]
    words = ["tokenize", "--decode", "--text", " ".join(map(str, ids))]
    assert gpt2(*words).stdout == text.encode()
    assert lines(show(words, environment, 80)) == visible(text.replace("\r\n", "\n"))
    assert lines(show([*words, "--raw"], environment, 80)) == text.replace("\r\n", "\n")


def lines(shown: str) -> str:
    """Return what was written to a terminal, which puts CR before each LF."""
    return shown.replace("\r\r\n", "\n").replace("\r\n", "\n")


def test_generated_text_is_raw_on_request(gpt2: Gpt2, folder: Path, environment: dict[str, str]) -> None:
    words = ["generate", "hello\x1b[8myou", "-m", str(folder), "-n", "40", "--seed", "1", "--echo", "-q"]
    plain = environment | {"NO_COLOR": "1"}
    assert r"hello\x1b[8myou" in show(words, plain, 80)
    piped = gpt2(*words).stdout.decode()
    assert show([*words, "--raw"], plain, 20) == piped.replace("\n", "\r\n")


@given(st.lists(st.binary()))
@example([b"\r\n"])
@example([b"a\r", b"\n"])
def test_no_bytes_in_any_pieces_act_on_a_terminal(pieces: list[bytes]) -> None:
    written: list[bytes] = []
    with spelled_controls(written.append) as write:
        for piece in pieces:
            write(piece)
    text = b"".join(pieces).decode("utf-8", "surrogateescape")
    expected = "\r\n".join(map(visible, text.split("\r\n")))
    assert b"".join(written).decode() == expected


def test_a_path_on_a_terminal_is_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    with os.fdopen(os.dup(terminal.slave), "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        write_path(ODD)
    assert lines(terminal.read_all().decode()) == f"{SPELLED}\n"


@pytest.mark.slow
def test_rows_and_lines_on_a_terminal_are_spelled(
    folder: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    text = tmp_path / "text"
    text.write_text(f"{ODD}\n")
    requests = tmp_path / "lines.jsonl"
    requests.write_text(json.dumps({"prompt": "Once", "id": ODD, "max_tokens": 1}) + "\n")
    for words in (
        ["score", str(text), "-m", str(folder), "--csv"],
        ["score", str(text), "-m", str(folder), "--filter", "ppl>0"],
        ["generate", "--jsonl", str(requests), "-m", str(folder)],
    ):
        shown = show(words, environment, 80).replace("\r\n", "\n")
        assert is_safe(shown.encode()), words


def test_a_traceback_is_spelled(gpt2: Gpt2) -> None:
    done = gpt2("tokenize", ODD, "--debug")
    assert done.returncode == 1
    assert b"Traceback (most recent call last):\n" in done.stderr
    assert is_safe(done.stderr)


def test_a_table_names_its_columns_safely() -> None:
    written: list[bytes] = []
    RowOutput("tsv", written.append, aligned=True).write_rows({}, [ODD], [{ODD: 1.0}])
    assert b"".join(written).decode().splitlines()[1] == SPELLED


def test_a_table_in_markdown_names_the_model_safely(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    quality = dict.fromkeys(("perplexity_ratio", "top1_agreement", "mean_kl_nats"), 1.0)
    quality |= {f"{name}{kind}": 1.0 for name in ("perplexity", "bits_per_byte") for kind in ("", "_float32")}
    how = {"backend": "numpy", "device": "cpu", "threads": 1, "dtype": "float32"}
    machine = {"cores": 1, "processor": "x"}
    report = {"quality": quality, "settings": how, "machine": machine, "model": {"name": f"{ODD}\udcff"}}
    form = ReportOptions(json=False, markdown=True)
    bench._show(report | {"gpt2cli": "1"}, quality_table, form, Messages())
    assert capfdbinary.readouterr().out.decode().startswith(rf"{SPELLED}\xff with gpt2cli 1 (numpy")


def test_json_spells_all_that_text_on_a_terminal_does() -> None:
    # json.dumps spells what comes before, and UTF-8 has no place for lone surrogates.
    for code in (*range(0x7F, 0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE1000)):
        character = chr(code)
        if not character.isprintable() and unicodedata.category(character) not in ("Cn", "Co"):
            spelled = visible(character) != character
            assert (json_text(character) == json.dumps(character)) == spelled, ascii(character)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_is_safe_and_says_the_same(text: str) -> None:
    line = json_line({text: text})
    assert json.loads(line) == {text: text}
    assert is_safe(line)
