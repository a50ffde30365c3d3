"""Texts as people have them: from Windows, compressed, in folders, with special tokens spelled out."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shlex
import subprocess
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

import pytest
import zstandard
from checkpoints import save_model_folder
from conftest import COMMAND, Gpt2, obey_permissions, run_limited
from transformers import AutoTokenizer

pytestmark = pytest.mark.slow

LINES = "The lark sings.\nThe toad is still.\n"
WINDOWS = LINES.replace("\n", "\r\n").encode()
CRLF_NOTE = "has CR LF line ends, and CR is read as text; --newlines lf drops it"
PAIRS = "item\tcondition\ttext\n1\tgood\tThe keys [are] here.\n1\tbad\tThe keys [is] here.\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model_folder(folder, n_positions=64)
    return folder


@pytest.fixture
def run(gpt2: Gpt2, model: Path) -> Gpt2:
    def run(command: str, *arguments: str | Path, **options: Any) -> Any:
        return gpt2(command, *arguments, "-m", model, "--threads", "1", **options)

    return run


def rows(output: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(output.decode(), newline=""), delimiter="\t"))


def surprisals(output: bytes) -> list[str]:
    return [row["surprisal"] for row in rows(output)]


def test_score_says_once_that_a_text_has_cr_lf_and_newlines_decides(run: Gpt2, tmp_path: Path) -> None:
    windows, other, unix = tmp_path / "windows.txt", tmp_path / "other.txt", tmp_path / "unix.txt"
    windows.write_bytes(WINDOWS)
    other.write_bytes(WINDOWS)
    unix.write_text(LINES)
    noted = run("score", windows, other)
    assert noted.stderr.decode() == f"note: {windows} {CRLF_NOTE}\n"
    assert any(row["token"] == "\r" for row in rows(noted.stdout))
    kept = run("score", windows, other, "--newlines", "keep")
    assert (kept.stdout, kept.stderr) == (noted.stdout, b"")
    as_lf, plain = run("score", windows, "--newlines", "lf"), run("score", unix)
    assert (as_lf.stderr, plain.stderr) == (b"", b"")
    assert surprisals(as_lf.stdout) == surprisals(plain.stdout)
    for row in rows(as_lf.stdout):
        token = WINDOWS[int(row["byte_start"]) : int(row["byte_end"])]
        assert token.replace(b"\r\n", b"\n") == row["token"].encode()
    # Line ends are no text there.
    by_lines = run("score", windows, "--split", "line")
    assert by_lines.stderr == b""
    assert surprisals(by_lines.stdout) == surprisals(run("score", unix, "--split", "line").stdout)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["generate", "next"])
def test_a_prompt_with_cr_lf_is_noted_and_newlines_decides(run: Gpt2, tmp_path: Path, command: str) -> None:
    windows = tmp_path / "prompt"
    windows.write_bytes(WINDOWS)
    options = ["--seed", "1", "-n", "4", "--json"] if command == "generate" else ["--json"]

    def answer(*arguments: str | Path, **given: Any) -> tuple[Any, str]:
        done = run(command, *options, *arguments, **given)
        assert not done.returncode
        record = json.loads(done.stdout)
        return record.get("token_ids") or record["rows"], done.stderr.decode()

    text = "prompt" if command == "generate" else "text"
    kept, note = answer("-f", windows)
    assert note == f"note: the {text} {CRLF_NOTE}\n"
    assert answer("-f", windows, "--newlines", "keep") == (kept, "")
    assert answer("-f", windows, "--newlines", "lf") == answer(LINES[:-1])
    assert answer(stdin=LINES.encode()) == answer(LINES[:-1])


@pytest.mark.slow
def test_lines_with_cr_lf_are_ranked_and_filtered_like_those_with_lf(run: Gpt2) -> None:
    for arguments in (["rank"], ["score", "--filter", "ppl<1e9"]):
        windows, unix = run(*arguments, stdin=WINDOWS), run(*arguments, stdin=LINES.encode())
        assert windows.stderr == b""
        assert windows.stdout.replace(b"\r\n", b"\n") == unix.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "content"),
    [
        (["score"], LINES),
        (["score", "--filter", "ppl<1e9"], LINES),
        (["score", "--pairs", "-"], PAIRS),
        (["rank", "--json"], LINES),
        (["generate", "--seed", "1", "-n", "4"], LINES),
        (["next"], LINES),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_byte_order_mark_changes_nothing(run: Gpt2, arguments: list[str], content: str) -> None:
    plain = run(*arguments, stdin=content.encode())
    marked = run(*arguments, stdin=BOM_UTF8 + content.encode())
    assert (marked.returncode, marked.stdout, marked.stderr) == (0, plain.stdout, plain.stderr)


def test_a_byte_order_mark_is_dropped_from_arguments_and_ids_too(gpt2: Gpt2, run: Gpt2) -> None:
    mark = BOM_UTF8.decode()
    assert gpt2("tokenize", stdin=BOM_UTF8 + b"Hello").stdout == b"15496\n"
    assert gpt2("tokenize", "--text", f"{mark}Hello").stdout == b"15496\n"
    assert gpt2("tokenize", "--decode", stdin=BOM_UTF8 + b"15496").stdout == b"Hello"
    listed = run("next", "The", "--candidates", f"{mark} lark, toad").stdout
    assert listed == run("next", "The", "--candidates", " lark, toad").stdout


def test_special_tokens_are_parsed_on_request_with_the_ids_of_transformers(run: Gpt2, model: Path) -> None:
    text = "One<|endoftext|>two"
    expected = AutoTokenizer.from_pretrained(model)(text)["input_ids"]
    parsed = run("score", "--text", text, "--special")
    assert [int(row["id"]) for row in rows(parsed.stdout)] == expected
    assert parsed.stderr == b""
    plain = run("score", "--text", text)
    assert [row["id"] for row in rows(plain.stdout)].count("0") == 0
    assert plain.stderr == (
        b"note: the text has <|endoftext|>, read as plain text; --special parses special tokens\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["rank", "--json"], ["next", "--json"], ["generate", "--json", "--seed", "1"]]
)
def test_every_command_notes_or_parses_special_tokens(run: Gpt2, arguments: list[str]) -> None:
    text = b"One<|endoftext|>two"
    noted, parsed = run(*arguments, stdin=text), run(*arguments, "--special", stdin=text)
    assert noted.stderr.endswith(b"has <|endoftext|>, read as plain text; --special parses special tokens\n")
    assert noted.stderr.count(b"\n") == 1
    assert parsed.stderr == b""
    assert parsed.stdout != noted.stdout


@pytest.mark.slow
def test_separators_given_to_score_without_split_are_noted(run: Gpt2) -> None:
    text = b"One\n<|endoftext|>\ntwo\n"
    assert run("score", stdin=text).stderr == (
        b"note: the text has <|endoftext|>, read as plain text; "
        b"--split endoftext ends documents at its lines\n"
    )
    assert run("score", "--split", "endoftext", stdin=text).stderr == b""


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_every_command_that_reads_texts_reads_compressed_ones(
    run: Gpt2, gpt2: Gpt2, tmp_path: Path, suffix: str, compress: Any
) -> None:
    plain, packed = tmp_path / "x.txt", tmp_path / f"x.txt{suffix}"
    plain.write_text(LINES)
    packed.write_bytes(compress(BOM_UTF8 + LINES.encode()))
    for arguments in (
        ["score", "--filter", "ppl<1e9"],
        ["score", "--by", "line"],
        ["rank"],
        ["generate", "--seed", "1", "-n", "4", "-f"],
        ["next", "-f"],
    ):
        expected, found = run(*arguments, plain), run(*arguments, packed)
        assert (found.returncode, found.stderr) == (0, expected.stderr)
        assert found.stdout.replace(suffix.encode(), b"") == expected.stdout
    assert gpt2("tokenize", packed).stdout == gpt2("tokenize", plain).stdout
    packed.write_bytes(packed.read_bytes()[:-3])
    broken = gpt2("tokenize", "--count", packed)
    assert (broken.returncode, broken.stdout) == (1, b"")
    assert broken.stderr.decode() == f"Error: {packed} is cut off. Fetch or compress it again.\n"


@pytest.mark.slow
def test_folders_and_patterns_stand_for_their_files(run: Gpt2, gpt2: Gpt2, tmp_path: Path) -> None:
    for name in ("texts/b.txt", "texts/a/a.txt", "texts/.hidden", "texts/other.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(LINES)
    texts = tmp_path / "texts"

    def files(*arguments: str | Path) -> list[str]:
        done = run("score", *arguments, "--by", "document")
        assert done.returncode == 0
        return [row["file"] for row in rows(done.stdout)]

    both = [f"{texts}/a/a.txt", f"{texts}/b.txt"]
    assert files(texts) == [*both, f"{texts}/other.md", "total"]
    assert files(f"{texts}/**/*.txt") == [*both, "total"]
    ranked = [json.loads(line) for line in run("rank", texts, "--json").stdout.splitlines()]
    assert {row["file"] for row in ranked} == {*both, f"{texts}/other.md"}
    counted = gpt2("tokenize", "--count", f"{texts}/*.txt").stdout.decode()
    assert counted.endswith(f" {texts}/b.txt\n")
    missing = run("score", f"{texts}/*.zip")
    assert missing.returncode == 1
    assert missing.stderr.decode().startswith(f"Error: {texts}/*.zip: No such file or directory.")


def test_a_folder_within_that_cannot_be_read_is_not_left_out_silently(
    environment: dict[str, str], tmp_path: Path
) -> None:
    texts = tmp_path / "texts"
    (texts / "closed").mkdir(parents=True)
    (texts / "a.txt").write_text(LINES)
    (texts / "closed").chmod(0)
    done = run_limited(["tokenize", "--count", str(texts)], environment, obey_permissions)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"Error: {texts}/closed: Permission denied.\n"


def test_an_item_without_a_condition_is_noted_and_labels_stand_apart(run: Gpt2, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text(
        "1\tgood\t[np The keys] are here.\n1\tbad\t[np The key] are here.\n2\tgood\t[np The dog] runs.\n"
    )
    done = run("score", "--pairs", pairs)
    assert done.stderr.decode() == f"note: {pairs}: item 2 lacks the condition bad\n"
    row, mean = rows(done.stdout)
    assert (row["text_1"], row["text_2"], row["label"]) == ("The keys", "The key", "np")
    assert mean["label"] == "np"
    bare = tmp_path / "bare.tsv"
    bare.write_text(pairs.read_text().replace("np ", ""))
    assert rows(run("score", "--pairs", bare).stdout)[0]["surprisal_1"] == row["surprisal_1"]


@pytest.mark.slow
def test_everything_is_counted_from_1(run: Gpt2, tmp_path: Path) -> None:
    text = tmp_path / "x.txt"
    text.write_text("One\n\ntwo three\n")
    samples = run("generate", "One", "-n", "1", "--num-samples", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["index"] for line in samples] == [1, 2]
    words = rows(run("score", text, "--split", "line", "--by", "word").stdout)
    assert [(row["document"], row["index"]) for row in words] == [("1", "1"), ("3", "1"), ("3", "2")]
    assert rows(run("score", text).stdout)[0]["index"] == "1"
    assert [row["line"] for row in rows(run("score", text, "--by", "line").stdout)] == ["1", "2", "3"]
    ranked = [json.loads(line) for line in run("rank", text, "--json").stdout.splitlines()]
    assert sorted((row["line"], row["text"]) for row in ranked) == [(1, "One"), (2, ""), (3, "two three")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_places_of_split_lines_are_those_in_the_file(run: Gpt2, tmp_path: Path, end: str) -> None:
    source = end.join(["é one", "", "two", "three 👍", ""])
    text = tmp_path / "x.txt"
    text.write_bytes(BOM_UTF8 + source.encode())
    found = rows(run("score", text, "--split", "line").stdout)
    places = {row["document"]: [] for row in found}  # type: ignore[var-annotated]
    for row in found:
        places[row["document"]].append(row)
    assert list(places) == ["1", "3", "4"]
    for tokens, line in zip(places.values(), ["é one", "two", "three 👍"], strict=True):
        assert source[int(tokens[0]["start"]) : int(tokens[-1]["end"])] == line
        assert source.encode()[int(tokens[0]["byte_start"]) : int(tokens[-1]["byte_end"])] == line.encode()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        *("generate", "next", "score", "score --filter 'ppl<9'", "score --pairs -", "rank", "tokenize"),
        "train -o /nonexistent/made --from",
    ],
)
def test_a_closed_stdin_is_refused_before_any_work(environment: dict[str, str], command: str) -> None:
    # A model that does not exist would be the next error.
    line = f"exec {shlex.join(COMMAND)} {command} {'' if 'train' in command else '-m'} /nonexistent <&-"
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"Error: standard input is closed.")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["generate", "next"])
def test_a_prompt_that_is_not_utf8_is_refused_before_any_work(
    gpt2: Gpt2, environment: dict[str, str], tmp_path: Path, command: str
) -> None:
    prompt = tmp_path / "latin1"
    prompt.write_bytes(b"caf\xe9")
    where = b"the byte 0xe9 at offset 3 is not valid UTF-8. Convert the text with iconv.\n"
    model = ["-m", "/nonexistent"]
    for done in (
        gpt2(command, "-f", prompt, *model),
        gpt2(command, *model, stdin=prompt.read_bytes()),
        subprocess.run(
            [*COMMAND, command, b"caf\xe9", *model], capture_output=True, env=environment, check=False
        ),
    ):
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.endswith(where)
