"""Word wrap of streamed text, on an emulated terminal screen."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from terminal import ESCAPE
from work import bytes_copied

from gpt2cli.cli.output.terminal.word_wrap import MARGIN, WordWrap
from gpt2cli.text.cells import cell_width, character_width

SHORT_WORDS = st.text(st.sampled_from("abcé\u0301"), min_size=1, max_size=MARGIN)
PIECES = st.lists(st.text(st.sampled_from("ab 日。é\u0301\t\n🙂\r\x1b"), max_size=9), max_size=40)


def screen(shown: str, width: int) -> list[str]:
    """Return the lines of a terminal, where a full line ends when the next character comes."""
    lines, column = [""], 0
    for character in ESCAPE.sub("", shown):
        if character == "\n":
            lines.append("")
            column = 0
            continue
        taken = 8 - column % 8 if character == "\t" else character_width(character)
        if column + taken > width and character != "\t":
            lines.append("")
            column = 0
        lines[-1] += character
        column += taken
    return lines


def wrapped(pieces: list[str], width: int) -> str:
    wrap = WordWrap(lambda: width)
    return "".join(map(wrap.push, pieces)) + wrap.push("\n")


@given(st.lists(SHORT_WORDS, min_size=1), st.integers(MARGIN, 90), st.integers(1, 7))
@example(["\u0301", MARGIN * "a"], MARGIN, 1)
def test_no_word_is_broken_that_fits_the_margin(words: list[str], width: int, size: int) -> None:
    text = " ".join(words)
    pieces = ["".join(part) for part in itertools.zip_longest(*[iter(text)] * size, fillvalue="")]
    lines = screen(wrapped(pieces, width), width)
    assert [word for line in lines for word in line.split()] == words
    # A line ends only where the next word has no room.
    for line, following in itertools.pairwise(line for line in lines if line):
        assert cell_width(line) + 1 + cell_width(following.split()[0]) > width


@given(PIECES, st.integers(2, 90))
def test_lines_keep_to_the_width_and_lose_nothing_but_white_space(pieces: list[str], width: int) -> None:
    shown = wrapped(pieces, width)
    assert "\x1b" not in shown
    assert all("\t" in line or cell_width(line) <= width for line in screen(shown, width))
    text = "".join(pieces).replace("\x1b", r"\x1b")
    assert "".join(shown.split()) == "".join(text.split())
    assert shown.count("\n") >= text.count("\n") + 1


@given(PIECES, st.integers(2, 90))
def test_text_comes_at_once_but_for_one_word(pieces: list[str], width: int) -> None:
    wrap = WordWrap(lambda: width)
    pushed = shown = ""
    for piece in pieces:
        pushed += piece
        shown += wrap.push(piece)
        missing = "".join(pushed.split())[len("".join(shown.split())) :]
        assert len(missing) <= len((pushed.split() or [""])[-1])
        assert cell_width(missing) <= width


def test_far_from_the_edge_pieces_of_a_word_show_at_once() -> None:
    wrap = WordWrap(lambda: 40)
    pieces = ["un", "believ", "able", " word"]
    assert list(map(wrap.push, pieces)) == pieces


def test_near_the_edge_a_word_waits_until_it_ends_or_moves() -> None:
    wrap = WordWrap(lambda: 20)
    pieces = ("one two", " three", " four", "teen", " days")
    assert [wrap.push(piece) for piece in pieces] == ["one", " two", " three", "\nfourteen", ""]
    assert wrap.push("\n") == " days\n"


def test_each_line_is_as_wide_as_the_terminal_is_then() -> None:
    widths = iter([8, 20, 8, 8])
    wrap = WordWrap(lambda: next(widths))
    assert wrap.push("one two three four five six seven\n") == "one two\nthree four five six\nseven\n"


def test_a_word_longer_than_a_line_is_left_to_the_terminal() -> None:
    assert wrapped(["see " + "x" * 25 + " and so on"], 10) == "see\n" + "x" * 25 + " and\nso on\n"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("日本語の本。「引用」", ["日本語の", "本。「引", "用」"]),
        ("a\r\nb\r\n", ["a", "b", ""]),
        ("    deep\n\n  in", ["    deep", "", "  in"]),
        ("abc\tde", ["abc\tde"]),
        ("abcdef\tdef", ["abcdef", "def"]),
    ],
)
def test_scripts_without_spaces_line_ends_and_indents_keep_their_sense(text: str, lines: list[str]) -> None:
    assert screen(wrapped([text], 10 if "\t" in text else 8), 10) == [*lines, ""]


def test_styles_take_no_room_and_follow_the_word() -> None:
    wrap = WordWrap(lambda: 10)
    shown = wrap.push("bold words", "\x1b[1m") + wrap.push(" plain") + wrap.push("\n")
    assert shown == "\x1b[1mbold words\x1b[0m\nplain\n"


@pytest.mark.parametrize("piece", ["   \t" * 10, "word " * 8, "x" * 40])
def test_a_piece_costs_no_more_the_longer_the_text_without_line_ends_is(piece: str) -> None:
    def copied(count: int) -> int:
        wrap = WordWrap(lambda: 80)
        return bytes_copied([partial(wrap.push, piece)] * count)

    assert copied(200) < 2.5 * copied(100)
