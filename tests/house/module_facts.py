"""What the modules of the package import and say, each parsed once for all rules."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[2] / "gpt2cli"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


class Facts(NamedTuple):
    """The names of the modules that a module imports at run time, at once or in functions too, and more.

    Those that it imports from the package itself include names that are no modules. The strings are all but
    docstrings, f-strings in their parts.
    """

    at_once: frozenset[str]
    anywhere: frozenset[str]
    from_the_package: frozenset[str]
    strings: tuple[str, ...]


@cache
def facts(path: Path) -> Facts:
    """Return what a file says of itself."""
    tree = ast.parse(path.read_text())
    nodes = list(ast.walk(tree))
    scopes = (node for node in nodes if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef))
    firsts = [node.body[0] for node in scopes if node.body]
    docstrings = {id(first.value) for first in firsts if isinstance(first, ast.Expr)}
    return Facts(
        frozenset(_imports(tree.body, anywhere=False)),
        frozenset(_imports(tree.body, anywhere=True)),
        frozenset(
            alias.name
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module == "gpt2cli"
            for alias in node.names
        ),
        tuple(
            node.value
            for node in nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        ),
    )


def _imports(body: Sequence[ast.AST], anywhere: bool) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            assert node.level == 0
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        elif anywhere or not isinstance(node, ast.FunctionDef | ast.Lambda):
            yield from _imports(list(ast.iter_child_nodes(node)), anywhere)
