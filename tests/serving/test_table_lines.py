"""Tables as lines of JSON."""

from __future__ import annotations

import csv
import json
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.errors import InputError, UsageError
from gpt2cli.serving.tables import table_lines


def rows(text: str, field: str = "text", delimiter: str = ",") -> list[dict[str, str]]:
    return [json.loads(line.data) for line in table_lines(StringIO(text, newline=""), delimiter, field, "t")]


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)


@given(st.lists(st.tuples(cells, cells)), st.sampled_from([",", "\t"]))
def test_a_row_is_what_a_writer_of_csv_wrote(written: list[tuple[str, str]], delimiter: str) -> None:
    file = StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "é"), *written])
    assert rows(file.getvalue(), delimiter=delimiter) == [{"text": one, "é": other} for one, other in written]


def test_a_row_with_too_few_cells_is_a_problem_of_that_row() -> None:
    first, second, third = table_lines(["text,n\n", "a,1\n", "b\n", "\n", "c,3\n"], ",", "text", "t")
    assert [first.number, second.number, third.number] == [1, 2, 3]
    assert second.problem.startswith("The row has 1 cells under a header of 2.")
    assert json.loads(third.data) == {"text": "c", "n": "3"}


def test_a_table_without_the_column_or_with_two_is_refused() -> None:
    with pytest.raises(UsageError, match=r"t has no column 'text', only 'a', 'b'\. Name one"):
        rows("a,b\n1,2\n")
    with pytest.raises(UsageError, match="t has two columns 'b'"):
        rows("text,b,b\n")
    with pytest.raises(UsageError, match="t has no column"):
        rows("")
    with pytest.raises(InputError, match="t, line 2"):
        rows('text\n"a\n')
