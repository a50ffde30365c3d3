"""README and docs: examples print what is shown, links work, and the tree matches the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from module_facts import MODULES, PACKAGE, facts
from readme import BLOCK, DOCS, DOCUMENTS, README, ROOT, TRAITS, TREE, pictures, regenerated, traits, tree

NUMBER = re.compile(r"\d+\.\d+")
COLOR = re.compile(r"#[0-9a-f]{6}")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)]+)\)")
WRITTEN = (*DOCUMENTS, *(path for path in sorted(ROOT.glob("*.md")) if path != README))


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_examples_show_what_they_print(document: Path, tmp_path: Path) -> None:
    text = document.read_text()
    again = regenerated(text, tmp_path)
    assert_alike(again, text)
    for drawn, place in pictures(tmp_path):
        assert_alike(COLOR.sub("#", drawn.read_text()), COLOR.sub("#", place.read_text()))


def assert_alike(again: str, text: str) -> None:
    assert NUMBER.sub("#", again) == NUMBER.sub("#", text), "run make readme"
    # Processors differ in the last digits.
    assert numbers(again) == pytest.approx(numbers(text), rel=1e-3)


def numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]


def test_outputs_are_made_anew_and_all_else_is_kept(tmp_path: Path) -> None:
    text = (
        "```csv words.csv\na,b\n```\n```console\n$ cat words.csv \\\n  words.csv\nold\n```\n"
        "```console error\n$ echo no >&2; false\n```\n"
        "```python\nx = 1\n```\n```python\nprint(x)\n```\n\n```text\nold\n```\n```sh\nnot-run\n```\n"
    )
    expected = text.replace("old\n```\n```console error", "a,b\na,b\n```\n```console error")
    expected = expected.replace("false\n", "false\nno\n").replace("old", "1")
    assert regenerated(text, tmp_path) == expected


def test_an_example_that_fails_is_found(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="exit code 3"):
        regenerated("```console\n$ exit 3\n```\n", tmp_path)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        regenerated("```python\n1 / 0\n```\n", tmp_path)


def test_the_landing_page_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 120


def test_the_tree_names_every_module_and_no_other() -> None:
    assert TREE.findall((DOCS / "architecture.md").read_text()) == [tree()], "run make readme"


def test_the_table_of_families_says_what_their_rows_do() -> None:
    assert TRAITS.findall((DOCS / "models.md").read_text()) == [traits()], "run make readme"


def test_the_two_commands_do_all_the_set_up() -> None:
    lines = README.read_text().splitlines()
    assert 'pip install -c constraints.txt . && gpt2 generate "Once upon a time"' in lines
    assert "pip install -c constraints.txt -e '.[test]' && pytest" in lines


@pytest.mark.parametrize("document", WRITTEN, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), target


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_reached_from_the_landing_page() -> None:
    linked = {README.parent / target.partition("#")[0] for target in LINK.findall(README.read_text())}
    assert set(DOCS.glob("*.md")) <= linked


def test_errors_are_named_as_the_code_raises_them() -> None:
    constants = {text for path in MODULES.values() for text in facts(path).strings}
    text = (DOCS / "troubleshooting.md").read_text()
    named = re.findall(r"^### `(?:Error: )?(.*)`$", text, re.MULTILINE)
    assert named
    for message in named:
        for part in filter(None, (part.strip() for part in message.split("…"))):
            assert any(part in constant for constant in constants), message


@pytest.mark.parametrize("document", WRITTEN, ids=lambda path: path.name)
def test_modules_that_are_named_exist(document: Path) -> None:
    for name in re.findall(r"`((?:\w+/)+\w+\.py)`", document.read_text()):
        assert (PACKAGE / name).exists() or (ROOT / name).exists(), name
