"""Trees of texts as files: JSON, which keeps every token, or an outline to read and edit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt2cli.checkpoint.whole_file import removed_unless_renamed
from gpt2cli.errors import InputError, UsageError
from gpt2cli.inspection.exploration.exploration import Exploration
from gpt2cli.inspection.exploration.text_tree import ROOT, TextTree
from gpt2cli.text.reading.chunks import file_chunks
from gpt2cli.text.reading.limits import MOST_HELD, within
from gpt2cli.text.streaming.text_blocks import decode_utf8
from gpt2cli.text.token_text import token_text

INDENT = "  "
JSON_SUFFIX = ".json"


def save(exploration: Exploration, path: Path) -> None:
    """Write the tree to a file: as JSON if its name ends so, else as text.

    Raises:
        InputError: the file cannot be written.
    """
    made = to_json(exploration) if path.suffix.lower() == JSON_SUFFIX else to_outline(exploration)
    try:
        with removed_unless_renamed(path.with_name(f".{path.name}.tmp")) as aside:
            # The name of a model may hold bytes that are no text.
            aside.write_text(made, "utf-8", errors="replace")
            aside.replace(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}.") from error
    exploration.saved = True


def load(exploration: Exploration, path: Path) -> None:
    """Replace the tree by that of a file.

    Raises:
        InputError: the file cannot be read or holds no tree, or a tree of another vocabulary.
    """
    name = str(path)
    content = decode_utf8(b"".join(within(file_chunks(name), name, MOST_HELD)), name)
    if path.suffix.lower() == JSON_SUFFIX:
        _from_json(exploration, content, path)
    else:
        exploration.tree = _from_outline(exploration, content, path)
    exploration.saved = True


def to_json(exploration: Exploration) -> str:
    """Return the tree with its tokens and texts, its cursor and the settings."""
    tree, tokenizer = exploration.tree, exploration.loaded.tokenizer
    nodes = [
        {"parent": node.parent, "id": node.token_id, "text": token_text(tokenizer.token_bytes(node.token_id))}
        for node in tree.nodes[1:]
    ]
    value = {
        "model": exploration.loaded.files.name,
        "temperature": exploration.temperature,
        "top_p": exploration.top_p,
        "seed": exploration.seed,
        "draws": exploration.draws,
        "path": tree.path[1:],
        "place": tree.place,
        "nodes": nodes,
    }
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def to_outline(exploration: Exploration) -> str:
    """Return the tree as lines of text in quotation marks, branches indented below what they go on with."""
    lines = []
    for depth, run in exploration.tree.runs():
        text = exploration.text(run).decode("utf-8", "replace")
        lines.append(f"{INDENT * depth}{json.dumps(text, ensure_ascii=False)}\n")
    return "".join(lines)


def _from_json(exploration: Exploration, content: str, path: Path) -> None:
    tokenizer = exploration.loaded.tokenizer
    try:
        value = json.loads(content)
        tree = TextTree()
        numbers = [ROOT]
        for entry in value["nodes"]:
            token_id = _below(tokenizer.id_limit, entry["id"])
            parent = _below(len(numbers), entry["parent"])
            if token_text(tokenizer.token_bytes(token_id)) != entry["text"]:
                raise InputError(
                    f"{path} has the tokens of {str(value.get('model'))[:80]!r}, and this model has others.",
                    "Name that `model`.",
                )
            numbers.append(tree.grow(numbers[parent], token_id))
        path_in_view = [numbers[_below(len(numbers), number)] for number in value["path"]]
        tree.view(path_in_view, _below(len(path_in_view) + 1, value["place"]))
        numbers_drawn = (int(value[name]) for name in ("seed", "draws"))
        exploration.set_draws(float(value["temperature"]), float(value["top_p"]), *numbers_drawn)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, UsageError) as error:
        raise InputError(f"{path} holds no tree of texts.", "Open what explore saved.") from error
    exploration.tree = tree


def _below(limit: int, value: Any) -> int:
    """Return a whole number from 0 on and below a limit.

    Raises:
        ValueError: it is none.
    """
    # True is an int to Python.
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError
    return value


def _from_outline(exploration: Exploration, content: str, path: Path) -> TextTree:
    tree = TextTree()
    ends: list[int] = [ROOT]
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip(" "))) // len(INDENT)
        text = _quoted(line.strip())
        if text is None or depth >= len(ends):
            raise InputError(
                f"{path}, line {number}: this is no text in quotation marks, or too far to the right."
            )
        node = ends[depth]
        for token_id in exploration.loaded.tokenizer.encode(text, continues=node != ROOT):
            node = tree.grow(node, token_id)
        ends[depth + 1 :] = [node]
    tree.view_last()
    return tree


def _quoted(line: str) -> Any:
    try:
        text = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return text if isinstance(text, str) else None
