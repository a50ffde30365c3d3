"""Long texts that are scored while they are read: the numbers of the whole, in bounded memory."""

from __future__ import annotations

import tracemalloc
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import pytest
from checkpoints import save_model_folder
from hypothesis import given
from hypothesis import strategies as st

from gpt2cli.cli.output.score_view import View
from gpt2cli.errors import InputError
from gpt2cli.language_model import LanguageModel, load
from gpt2cli.scoring.report import Report
from gpt2cli.scoring.scored_text import Text
from gpt2cli.scoring.settings import By, ProtocolName, ScoringSettings
from gpt2cli.scoring.streaming import id_blocks
from gpt2cli.scoring.streaming.id_blocks import IdBlocks, SharedBlocks
from gpt2cli.scoring.streaming.streamed_text import StreamedText
from gpt2cli.scoring.text_scorer import open_scoring
from gpt2cli.text.stored import long_runs
from gpt2cli.text.streaming import text_blocks
from gpt2cli.text.streaming.text_blocks import decode_parts

CONTEXT = 32
TEXT = "Once upon\r\n a time 日本語  " * 4 + "a" * 300 + " " * 90 + "\r\n<|endoftext|> end"
TEXTS = st.lists(st.sampled_from(["\r", "\n", "\r\n", " ", "a", "é", "日本", "👍"])).map("".join)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder = tmp_path_factory.mktemp("streamed")
    save_model_folder(folder, n_positions=CONTEXT, n_layer=1)
    return load(str(folder), device="cpu")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have short runs read as long ones are."""
    monkeypatch.setattr(text_blocks, "LONGEST_RUN", 64)
    monkeypatch.setattr(long_runs, "LONG_PRETOKEN", 32)
    monkeypatch.setattr(long_runs, "PART_BYTES", 32)
    monkeypatch.setattr(long_runs, "STRETCH_BYTES", 64)


def cut(text: str, size: int) -> Iterator[str]:
    return (text[start : start + size] for start in range(0, len(text), size))


def records(model: LanguageModel, content: Any, settings: ScoringSettings) -> list[Any]:
    by = settings.rows_by(settings.by)
    report = Report(open_scoring(model, settings), by, keeps_documents=True, newlines=settings.newlines)
    rows: list[Any] = list(report.records([(None, content)]))
    return [*rows, *(list(extra) for extra in report.extra().values())]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("by", get_args(By))
@pytest.mark.parametrize(("newlines", "bos"), [("keep", True), ("lf", False)])
def test_a_text_in_parts_has_the_numbers_of_the_whole(
    model: LanguageModel, by: By, newlines: Any, bos: bool
) -> None:
    settings = ScoringSettings(by=by, newlines=newlines, bos=bos, stride=7)
    whole = records(model, TEXT, settings)
    for size in (1, 5, 1000):
        assert records(model, cut(TEXT, size), settings) == whole


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("protocol", get_args(ProtocolName))
def test_a_text_in_parts_has_the_numbers_of_the_whole_under_a_protocol(
    model: LanguageModel, protocol: ProtocolName
) -> None:
    settings = ScoringSettings(protocol=protocol, window=16)
    assert records(model, cut(TEXT, 9), settings) == records(model, TEXT, settings)


def test_a_picture_of_too_much_text_is_refused(model: LanguageModel) -> None:
    view = View(
        open_scoring(model, ScoringSettings()), [(None, iter(["a b", " c\n"])), (None, "d")], False, None
    )
    with pytest.raises(InputError, match="a picture has more than 5 characters, too many to hold at once"):
        list(view.parts(5))


def test_the_best_of_many_texts_are_the_first_of_all(model: LanguageModel) -> None:
    scoring = open_scoring(model, ScoringSettings())
    texts = [(number, text) for number, text in enumerate(["a", "", "b c", "a", "d\ne", " "])]
    ranked = [key for key, _ in scoring.ranked(texts)]
    for best in range(7):
        assert [key for key, _ in scoring.ranked(iter(texts), best=best)] == ranked[:best]


@given(TEXTS, st.integers(1, 4))
def test_crlf_and_sizes_do_not_depend_on_the_parts(text: str, size: int) -> None:
    whole = Text(text).with_lf()
    streamed = StreamedText(cut(text, size), "lf")
    assert "".join(streamed.parts()) == whole.content
    assert list(streamed.crlf) == list(whole.crlf)
    assert streamed.size() == whole.size()
    assert "".join(decode_parts(iter([bytes([byte]) for byte in text.encode()]), "f")) == text


def test_ids_are_read_when_they_are_needed_and_forgotten_when_told() -> None:
    read: list[Sequence[int]] = []

    def blocks() -> Iterator[Sequence[int]]:
        for start in range(0, 30, 10):
            read.append(range(start, start + 10))
            yield read[-1]

    ids = IdBlocks(blocks())
    assert (ids.reach(5), len(read)) == (5, 1)
    assert (ids.between(8, 12), len(read)) == ([8, 9, 10, 11], 2)
    ids.forget(12)
    assert ids.between(12, 14) == [12, 13]
    assert (ids.reach(100), ids.between(29, 40)) == (30, [29])


def test_the_second_reader_gets_what_the_first_has_read_and_what_it_never_asked_for() -> None:
    shared = SharedBlocks([[1, 2], [3], [4, 5]])
    first = shared.first()
    assert next(first) == [1, 2]
    assert list(shared.second()) == [1, 2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("by", ["token", "document"])
def test_a_line_takes_the_same_memory_at_any_length(model: LanguageModel, by: By) -> None:
    def peak(count: int) -> int:
        report = Report(open_scoring(model, ScoringSettings(stride=CONTEXT)), by)
        tracemalloc.start()
        assert sum(1 for _ in report.records([(None, ("a" * 64 for _ in range(count)))]))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(120) < 1.2 * peak(40)


def test_ids_of_a_long_block_are_seldom_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = 0

    class CountingArray(array):  # type: ignore[type-arg]
        def __delitem__(self, index: Any) -> None:
            nonlocal moved
            moved += len(self[index.stop :])
            super().__delitem__(index)

    monkeypatch.setattr(id_blocks, "array", CountingArray)
    ids = range(1000)
    blocks = IdBlocks([ids])
    for start in range(0, 1000, 10):
        blocks.forget(start)
        assert blocks.between(start, start + 10) == list(ids[start : start + 10])
    assert moved <= len(ids)
