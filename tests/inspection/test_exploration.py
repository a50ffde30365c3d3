"""Trees of texts: changes, undo, branches, distributions and files."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import save_model_folder
from hypothesis import given, settings
from hypothesis import strategies as st

import gpt2cli
from gpt2cli.cli.exploring.screen import Screen, wrapped
from gpt2cli.errors import InputError, UsageError
from gpt2cli.inspection.exploration.exploration import Exploration
from gpt2cli.inspection.exploration.reader import Reader
from gpt2cli.inspection.exploration.saving import load, save, to_json, to_outline
from gpt2cli.inspection.exploration.text_tree import ROOT, TextTree
from gpt2cli.model.decoder import hidden_states, logits
from gpt2cli.text.cells import cell_width

CONTEXT = 48
PROMPT = "Once upon a test"
EMPTY = {"nodes": [], "path": [], "place": 0, "temperature": 1, "top_p": 1, "seed": 0, "draws": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exploration")
    save_model_folder(folder, n_positions=CONTEXT)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> gpt2cli.LanguageModel:
    return gpt2cli.load(str(folder), device="cpu", threads=1)


@pytest.fixture
def exploration(model: gpt2cli.LanguageModel) -> Exploration:
    begun = Exploration(model)
    begun.begin(PROMPT)
    return begun


# The tree

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(st.integers(0, 3), max_size=3)),
        st.tuples(st.sampled_from(["move", "switch"]), st.integers(-4, 4)),
        st.tuples(st.just("undo"), st.none()),
    ),
    max_size=40,
)


def texts_of(tree: TextTree) -> set[tuple[int, ...]]:
    """Return every text from the root to an end."""

    def below(node: int, before: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        children = tree.nodes[node].children
        if not children:
            yield before
        for child in children:
            yield from below(child, (*before, tree.nodes[child].token_id))

    return set(below(ROOT, ()))


@given(CHANGES)
def test_the_text_in_view_is_always_one_of_the_tree(changes: list[tuple[str, Any]]) -> None:
    tree = TextTree()
    for name, value in changes:
        before = texts_of(tree)
        getattr(tree, name)(*() if value is None else (value,))
        assert 0 <= tree.place < len(tree.path)
        assert tuple(tree.ids) in texts_of(tree)
        for parent, child in zip(tree.path, tree.path[1:], strict=False):
            assert child in tree.nodes[parent].children
        if name == "write":
            # Nothing that was there is lost.
            assert all(any(new[: len(old)] == old for new in texts_of(tree)) for old in before)


@given(CHANGES)
def test_undoing_everything_leads_back_to_the_beginning(changes: list[tuple[str, Any]]) -> None:
    tree = TextTree()
    seen = []
    for name, value in changes:
        if name == "undo":
            continue
        state = (
            [vars(node) | {"children": list(node.children)} for node in tree.nodes],
            list(tree.path),
            tree.place,
        )
        count = len(tree._before)
        getattr(tree, name)(value)
        if len(tree._before) > count:
            seen.append(state)
    while seen:
        nodes, path, place = seen.pop()
        assert tree.undo()
        assert [vars(node) for node in tree.nodes] == nodes
        assert (tree.path, tree.place) == (path, place)
    assert not tree.undo()


def test_another_token_in_the_middle_begins_a_branch_and_tab_leads_back() -> None:
    tree = TextTree()
    tree.write([1, 2, 3])
    tree.move(-2)
    tree.take(7)
    assert (tree.ids, tree.place) == ([1, 7], 2)
    tree.move(-1)
    tree.switch(1)
    assert (tree.ids, tree.place) == ([1, 2, 3], 1)
    tree.take(2)
    assert (tree.ids, tree.place, len(tree.nodes)) == ([1, 2, 3], 2, 5)
    assert list(tree.runs()) == [(0, [1]), (1, [2, 3]), (1, [7])]


# What may come


def test_rows_are_those_of_a_text_that_is_read_anew(model: gpt2cli.LanguageModel) -> None:
    reader = Reader(model)
    ids = [int(token_id) for token_id in np.random.default_rng(1).integers(1, 320, 120)]
    inner = model.model

    def anew(read: list[int]) -> Any:
        hidden = hidden_states(inner, inner.ops.token_ids([read]), first=-1)
        return inner.ops.to_numpy(logits(inner, hidden))[0, 0]

    for length in (0, 5, 3, 4, CONTEXT - 1, 2, *range(CONTEXT - 2, 60), 120, 7):
        read = [0, *ids[:length]]
        if len(read) > CONTEXT:
            read = read[(len(read) - CONTEXT + 23) // 24 * 24 :]
            assert CONTEXT // 2 < len(read) <= CONTEXT
        assert reader.scores(ids[:length]) == pytest.approx(anew(read), abs=1e-4), length


def test_one_token_is_read_for_one_that_is_taken(
    model: gpt2cli.LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Exploration(model)
    begun.begin(PROMPT)
    begun.alternatives(3)
    seen: list[int] = []
    embed = model.model.ops.embed

    def counted(tokens: Any, positions: Any, ids: Any, places: Any) -> Any:
        seen.append(ids.shape[1])
        return embed(tokens, positions, ids, places)

    monkeypatch.setattr(model.model.ops, "embed", counted)
    begun.sample()
    begun.alternatives(3)
    begun.tree.move(-1)
    begun.alternatives(3)
    assert seen == [1]


def test_chances_follow_the_temperature_and_top_p(exploration: Exploration) -> None:
    whole = exploration.alternatives(400)
    assert sum(row.probability for row in whole) == pytest.approx(1, abs=1e-4)
    assert sum(row.chance for row in whole) == pytest.approx(1)
    exploration.temperature, exploration.top_p = 1.0, 1.0
    assert [row.chance for row in exploration.alternatives(9)] == pytest.approx(
        [row.probability for row in whole[:9]], abs=1e-5
    )
    exploration.warm(-10)
    assert (exploration.temperature, [row.chance for row in exploration.alternatives(2)]) == (0.0, [1.0, 0.0])
    exploration.warm(5)
    exploration.widen(-10)
    first = exploration.alternatives(400)
    assert (exploration.temperature, exploration.top_p) == (0.5, 0.5)
    assert sum(row.chance > 0 for row in first) < sum(row.chance > 0 for row in whole)
    assert first[0].chance > whole[0].chance


def test_a_temperature_next_to_0_draws_the_likeliest(model: gpt2cli.LanguageModel) -> None:
    drawn = []
    for temperature in (0.0, 1e-300):
        begun = Exploration(model, temperature)
        begun.begin(PROMPT)
        drawn.append(([row.chance for row in begun.alternatives(2)], begun.sample()))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    "settings", [{"temperature": math.nan}, {"temperature": -1.0}, {"top_p": 0.0}, {"seed": 1 << 64}]
)
def test_settings_of_draws_that_are_out_of_range_are_refused(
    model: gpt2cli.LanguageModel, settings: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="must be between"):
        Exploration(model, **settings)


def test_draws_are_the_same_with_the_same_seed(model: gpt2cli.LanguageModel) -> None:
    drawn = []
    for seed in (1, 1, 2):
        begun = Exploration(model, temperature=1.5, top_p=1.0, seed=seed)
        begun.begin(PROMPT)
        drawn.append([begun.sample() for _ in range(8)])
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_was_taken_is_listed_however_unlikely(exploration: Exploration) -> None:
    unlikely = exploration.alternatives(400)[-1].token_id
    exploration.take(unlikely)
    exploration.tree.move(-1)
    last = exploration.alternatives(3)[-1]
    assert (last.token_id, last.taken, last.shown) == (unlikely, True, True)


# Files


@settings(max_examples=20)
@given(CHANGES)
def test_a_tree_comes_back_from_json(
    model: gpt2cli.LanguageModel, tmp_path_factory: Any, changes: Any
) -> None:
    begun = Exploration(model, temperature=0.3, top_p=0.5, seed=4)
    for name, value in changes:
        getattr(begun.tree, name)(
            *() if value is None else ([x + 40 for x in value],) if name == "write" else (value,)
        )
    path = tmp_path_factory.mktemp("trees") / "tree.json"
    save(begun, path)
    again = Exploration(model)
    load(again, path)
    assert to_json(again) == to_json(begun)
    assert again.saved


def test_a_tree_of_a_model_whose_name_is_no_text_is_saved(folder: Path, tmp_path: Path) -> None:
    odd = shutil.copytree(folder, tmp_path / "caf\udce9")
    begun = Exploration(gpt2cli.load(str(odd), device="cpu", threads=1))
    begun.begin(PROMPT)
    save(begun, tmp_path / "tree.json")
    again = Exploration(begun.loaded)
    load(again, tmp_path / "tree.json")
    assert texts_of(again.tree) == texts_of(begun.tree)


def test_an_outline_can_be_read_edited_and_opened(exploration: Exploration, tmp_path: Path) -> None:
    exploration.write(" and the end.\n")
    exploration.tree.move(-100)
    exploration.tree.move(4)
    exploration.write(' "żółw"')
    path = tmp_path / "tree.txt"
    save(exploration, path)
    whole = {exploration.text(list(ids)) for ids in texts_of(exploration.tree)}
    again = Exploration(exploration.loaded)
    load(again, path)
    assert {again.text(list(ids)) for ids in texts_of(again.tree)} == whole
    path.write_text(path.read_text() + '"Another"\n  " tale"\n  " end"\n')
    load(again, path)
    assert {again.text(list(ids)) for ids in texts_of(again.tree)} == whole | {
        b"Another tale",
        b"Another end",
    }
    assert to_outline(again).endswith('"Another"\n  " tale"\n  " end"\n')


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", "{", "holds no tree of texts"),
        ("a.json", '{"nodes": [{"parent": 5, "id": 1, "text": "x"}]}', "holds no tree of texts"),
        ("a.json", '{"nodes": [{"parent": 0, "id": -1, "text": "x"}]}', "holds no tree of texts"),
        (
            "a.json",
            '{"nodes": [], "path": [0], "place": 0, "temperature": 1, "top_p": 1, "seed": 1e999, "draws": 0}',
            "holds no tree of texts",
        ),
        ("a.json", json.dumps(EMPTY | {"place": 0.0}), "holds no tree of texts"),
        ("a.json", json.dumps(EMPTY | {"path": [0.0]}), "holds no tree of texts"),
        ("a.json", json.dumps(EMPTY | {"temperature": math.nan}), "holds no tree of texts"),
        ("a.json", json.dumps(EMPTY | {"seed": -1}), "holds no tree of texts"),
        ("a.json", json.dumps(EMPTY | {"draws": 1 << 64}), "holds no tree of texts"),
        ("a.json", '{"model": "m", "nodes": [{"parent": 0, "id": 50, "text": "?"}]}', "tokens of 'm'"),
        ("a.txt", "text\n", "a.txt, line 1: this is no text in quotation marks"),
        ("a.txt", '"a"\n    "b"\n', "a.txt, line 2: this is no text in quotation marks, or too far"),
    ],
)
def test_what_is_no_tree_is_refused_and_changes_nothing(
    exploration: Exploration, tmp_path: Path, name: str, content: str, problem: str
) -> None:
    before = to_json(exploration)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=problem):
        load(exploration, tmp_path / name)
    assert to_json(exploration) == before
    with pytest.raises(InputError, match="No such file"):
        load(exploration, tmp_path / "none.json")
    with pytest.raises(InputError, match=r"Is a directory|Not a directory|No such file"):
        save(exploration, tmp_path / name / "tree.json")


def test_a_saved_tree_names_its_model_and_settings(exploration: Exploration) -> None:
    value = json.loads(to_json(exploration))
    assert value["model"] == exploration.loaded.files.name
    assert "".join(node["text"] for node in value["nodes"]) == PROMPT


# The screen


@given(st.text(st.sampled_from("ab \n字"), max_size=60), st.integers(4, 12))
def test_lines_are_broken_at_spaces_and_nothing_moves(text: str, columns: int) -> None:
    broken = wrapped(text, columns)
    assert len(broken) == len(text)
    assert broken.replace("\n", " ") == text.replace("\n", " ")
    for line in broken.split("\n"):
        assert (
            cell_width(line) <= columns or " " not in line.strip(" ") or cell_width(line.rstrip()) <= columns
        )


def test_the_list_begins_with_what_is_in_view_and_marks_it(exploration: Exploration) -> None:
    screen = Screen(exploration)
    exploration.take(screen.rows[2].token_id)
    exploration.tree.move(-1)
    rows = screen.rows
    assert (screen.chosen, rows[2].shown) == (2, True)
    screen.choose(-1)
    exploration.take(rows[screen.chosen].token_id)
    exploration.tree.move(-1)
    marks = "".join(part[1] for part in screen.list()).splitlines()
    assert [line[:3] for line in marks[:4]] == ["   ", "> *", "  +", "   "]
    assert all(cell_width(part[1]) <= 80 for part in (*screen.bottom(), *screen.heading()))


def test_text_on_the_screen_cannot_move_its_cursor(exploration: Exploration) -> None:
    exploration.write("\x1b[2J\r\x07tale")
    screen = Screen(exploration)
    shown = "".join(part[1] for part in (*screen.text(80), *screen.list()))
    assert not set(shown) & {"\x1b", "\r", "\x07"}
