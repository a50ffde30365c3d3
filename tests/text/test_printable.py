"""Text made safe to display: control characters are shown, not executed."""

from __future__ import annotations

import ast
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.text.printable import escaped, replaced


@given(st.text())
def test_escapes_print_and_python_reads_them_back(text: str) -> None:
    shown = escaped(text)
    assert shown.isprintable()
    source = escaped(text.replace("\\", "\\\\").replace("'", "\\'"))
    assert ast.literal_eval(f"'{source}'") == text


def test_a_byte_that_is_not_utf8_is_spelled_as_a_byte() -> None:
    assert escaped(b"a\xff\x1b".decode("utf-8", "surrogateescape")) == "a\\xff\\x1b"


@given(st.text(st.characters()))
def test_replaced_text_keeps_its_length_and_is_text_for_xml(text: str) -> None:
    shown = replaced(text)
    assert len(shown) == len(text)
    markup = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert (ElementTree.fromstring(f"<a>{markup}</a>").text or "") == shown


@pytest.mark.parametrize(
    "text", ["no\N{NO-BREAK SPACE}break", "👨\u200d👩\u200d👧", "a\u200cb", "日　本", "\t\n"]
)
def test_what_spelling_needs_is_kept(text: str) -> None:
    assert replaced(text) == text


@pytest.mark.parametrize("character", ["\x1b", "\r", "\x7f", "\x9b", "\u202e", "\u2028", "\ufeff", "\udcff"])
def test_what_a_terminal_would_obey_or_hide_is_replaced(character: str) -> None:
    assert replaced(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"
