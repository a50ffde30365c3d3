"""Output files that grow: what a run that broke off leaves, and what the next one makes of it."""

from __future__ import annotations

import json
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.errors import Error, InputError, UsageError
from gpt2cli.serving.answers import answer, delta, failure
from gpt2cli.serving.journal import LineSet, check_output, open_journal, read_answers, require_same, state_of
from gpt2cli.serving.protocol import RequestError

FACTS = {"model": "m", "settings": {"top_k": 5, "stop": ("a",)}, "seed": 1, "input": {"bytes": 9}}
GOOD = [answer(line, f"id {line}", {"text": '"error": {"type": "x"} "delta": "'}) for line in (1, 2, 3)]
FAILED = failure(4, None, Error("The model produced NaN."))
INVALID = failure(5, None, RequestError("No."))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def broken_off(path: Path, *answers: Any, torn: bytes = b"") -> None:
    """Leave what a killed run leaves."""
    with suppress(KeyboardInterrupt), open_journal(path, FACTS, resumed=False) as journal:
        for one in answers:
            journal.write(one)
        raise KeyboardInterrupt
    with path.open("ab") as file:
        file.write(torn)


def test_a_full_disk_is_named_by_the_file_that_it_holds(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as raised:
            broken_off(path, GOOD[0], answer(2, None, {"text": "x" * 1000}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.filename == str(path)
    assert read_answers(path).kept == len(GOOD[0].data)


def test_a_name_that_is_no_text_is_the_same_when_a_run_is_resumed(path: Path) -> None:
    facts = FACTS | {"model": "caf\udce9"}
    with open_journal(path, facts, resumed=False):
        pass
    record = check_output(path, resume=True)
    assert record
    require_same(path, record, facts)


@pytest.mark.parametrize("torn", [b"", b'{"v": 1, "li', GOOD[2].data[:-1]])
def test_a_torn_last_line_is_dropped_and_whole_ones_stay(path: Path, torn: bytes) -> None:
    broken_off(path, *GOOD[:2], torn=torn)
    with open_journal(path, FACTS, resumed=True) as journal:
        assert [line in journal.answered.lines for line in range(5)] == [False, True, True, False, False]
        journal.write(GOOD[2])
    assert path.read_bytes() == b"".join(one.data for one in GOOD)


def test_lines_that_failed_are_tried_again_unless_they_were_invalid(path: Path) -> None:
    broken_off(path, GOOD[0], FAILED, INVALID, GOOD[2])
    with open_journal(path, FACTS, resumed=True) as journal:
        assert [line for line in range(9) if line in journal.answered.lines] == [1, 3, 5]
        assert journal.answered.invalid == 1
        journal.write(answer(4, None, {}))
    assert [json.loads(data)["line"] for data in path.read_bytes().splitlines()] == [1, 5, 3, 4]


def test_a_stream_that_broke_off_begins_again(path: Path) -> None:
    whole = [delta(1, None, 0, "a"), GOOD[0]]
    broken_off(path, *whole, delta(2, None, 0, "b"))
    with open_journal(path, FACTS, resumed=True) as journal:
        assert 2 not in journal.answered.lines
        journal.write(GOOD[1])
    assert path.read_bytes() == b"".join(one.data for one in (*whole, GOOD[1]))


def test_an_unfinished_run_is_not_written_over(path: Path) -> None:
    assert check_output(path, resume=True) is None
    broken_off(path, *GOOD)
    with pytest.raises(UsageError, match=r"an unfinished run\. `resume` goes on"):
        check_output(path, resume=False)
    record = check_output(path, resume=True)
    assert record
    require_same(path, record, FACTS)
    with open_journal(path, FACTS, resumed=True):
        pass
    assert check_output(path, resume=False) is None
    with open_journal(path, FACTS, resumed=False) as journal:
        journal.write(GOOD[0])
    assert path.read_bytes() == GOOD[0].data


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"settings": {"top_k": 6, "stop": ["a"]}}, "was made with top_k 5, not 6."),
        ({"model": "other"}, 'was made with model "m", not "other".'),
        ({"model": "x" * 5000}, f'was made with model "m", not "{"x" * 79}....'),
        ({"input": {"bytes": 8}}, "was made from another input."),
        ({"input": {"first_line": "x"}}, "was made from another input."),
    ],
)
def test_another_run_is_refused(path: Path, changed: dict[str, Any], message: str) -> None:
    broken_off(path, *GOOD)
    record = check_output(path, resume=True)
    assert record
    with pytest.raises(UsageError) as caught:
        require_same(path, record, FACTS | changed)
    assert message in str(caught.value)


def test_what_is_no_output_of_a_run_is_refused(path: Path) -> None:
    path.write_text("precious\n")
    with pytest.raises(UsageError, match="has no record of its run"):
        check_output(path, resume=True)
    broken_off(path, GOOD[0], torn=b"precious\n" + GOOD[1].data)
    with pytest.raises(InputError, match="line 2 is not an answer"):
        read_answers(path)
    record = path.with_name("out.jsonl.run")
    record.write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        check_output(path, resume=True)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": None},
        {"seed": "1"},
        {"seed": -1},
        {"input": None},
        {"input": {"bytes": "9"}},
        {"input": {"bytes": 0.5}},
    ],
)
def test_a_damaged_record_is_refused(path: Path, changed: dict[str, Any]) -> None:
    record = path.with_name("out.jsonl.run")
    record.write_text(json.dumps({"v": 1, **FACTS, **changed}))
    with pytest.raises(InputError, match="is damaged"):
        check_output(path, resume=True)
    record.write_text("[" * 100_000)
    with pytest.raises(InputError, match="is damaged"):
        check_output(path, resume=True)


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"v": 1, "line": 1%s, "id": null}\n' % (b"0" * 5000),
        b'{"v": 1, "line": 2, "error": %s\n' % (b'{"error": ' * 50_000),
    ],
)
def test_a_damaged_line_is_no_answer(path: Path, damaged: bytes) -> None:
    broken_off(path, GOOD[0], torn=damaged)
    with pytest.raises(InputError, match="line 2 is not an answer"):
        read_answers(path)


@pytest.mark.parametrize("response", ["5", '"x"', "[]", '{"body": 5}'])
def test_an_answer_of_another_form_is_one_that_failed_or_not(response: str) -> None:
    data = f'{{"id": "batch_req_3", "response": {response}, "x": {{"error": {{}}}}}}\n'.encode()
    assert state_of(data) == (3, True, False)


def test_two_processes_do_not_write_one_file(path: Path) -> None:
    with open_journal(path, FACTS, resumed=False) as journal:
        journal.write(GOOD[0])
        with pytest.raises(UsageError, match="Another process writes"):
            open_journal(path, FACTS, resumed=False).__enter__()
    assert path.read_bytes() == GOOD[0].data


@given(st.lists(st.integers(0, 3000)))
def test_a_set_of_lines_is_a_set(numbers: list[int]) -> None:
    found = LineSet()
    for number in numbers:
        found.add(number)
    assert len(found) == len(set(numbers))
    assert all((number in found) is (number in set(numbers)) for number in range(0, 3100, 7))
    # As many bytes as this would not fit into memory.
    found.add(10**17)
    assert 10**17 in found
    assert 10**17 - 1 not in found


@given(st.text(), st.dictionaries(st.text(), st.text() | st.dictionaries(st.text(), st.text())))
def test_any_answer_is_known_as_one(text: str, carried: dict[str, Any]) -> None:
    body = {"fields": {**carried, "error": {"type": "t"}, "delta": "d"}, "choices": [{"text": text}]}
    assert state_of(answer(7, text, body).data) == (7, True, False)
