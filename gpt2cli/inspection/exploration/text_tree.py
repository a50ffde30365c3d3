"""A tree of texts: what was written, what else could have been, and where the reader is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

ROOT = 0


@dataclass
class Node:
    """A token in its place; the root has none. `children` are the tokens that follow, in order of taking."""

    parent: int
    token_id: int
    children: list[int] = field(default_factory=list)


class TextTree:
    """Tokens that follow each other in several ways.

    `path` are the nodes of the text in view, from the root to its end. `place` counts the tokens before the
    cursor in it. Every change can be undone.
    """

    def __init__(self) -> None:
        self.nodes = [Node(ROOT, -1)]
        self.path = [ROOT]
        self.place = 0
        self._before: list[tuple[int, list[int], int]] = []

    @property
    def current(self) -> int:
        """The node before the cursor."""
        return self.path[self.place]

    @property
    def ids(self) -> list[int]:
        """The tokens of the text in view."""
        return [self.nodes[node].token_id for node in self.path[1:]]

    @property
    def branches(self) -> Sequence[int]:
        """The nodes that follow the cursor, in order of taking."""
        return self.nodes[self.current].children

    def move(self, steps: int) -> None:
        """Move the cursor along the text, as far as it goes."""
        self.place = max(0, min(self.place + steps, len(self.path) - 1))

    def take(self, token_id: int) -> None:
        """Go on with a token at the cursor: along the branch that begins with it, or along a new one."""
        self.write([token_id])

    def write(self, token_ids: Sequence[int]) -> None:
        """Go on with several tokens, as one change."""
        if not token_ids:
            return
        self._remember()
        for token_id in token_ids:
            self._follow(self._child(self.current, token_id))
            self.place += 1

    def extend(self, token_id: int) -> None:
        """Go on with a token as a part of the change before."""
        self._follow(self._child(self.current, token_id))
        self.place += 1

    def switch(self, steps: int) -> None:
        """Put another branch at the cursor into view."""
        branches = self.branches
        if not branches:
            return
        shown = self.path[self.place + 1] if self.place + 1 < len(self.path) else branches[0]
        self._follow(branches[(branches.index(shown) + steps) % len(branches)])

    def grow(self, node: int, token_id: int) -> int:
        """Add a token behind a node, whatever is in view, and return its node; one that is there stays."""
        return self._child(node, token_id)

    def view(self, path: Sequence[int], place: int) -> None:
        """Put the text of these nodes into view, which follow each other from the root.

        Raises:
            ValueError: they do not, or the place is not in the text.
        """
        whole = [ROOT, *path]
        follows = all(
            after in self.nodes[before].children for before, after in zip(whole, path, strict=False)
        )
        if not follows or not 0 <= place < len(whole):
            raise ValueError("no path of the tree")
        self.path, self.place = whole, place

    def view_last(self) -> None:
        """Put what was taken last into view, with the cursor at its end."""
        self.path = [ROOT]
        while children := self.nodes[self.path[-1]].children:
            self.path.append(children[-1])
        self.place = len(self.path) - 1

    def undo(self) -> bool:
        """Take back the last change, and return whether there was one."""
        if not self._before:
            return False
        size, self.path, self.place = self._before.pop()
        for node in range(len(self.nodes) - 1, size - 1, -1):
            self.nodes[self.nodes[node].parent].children.remove(node)
        del self.nodes[size:]
        return True

    def runs(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the unbranched runs of tokens, each with its depth, a branch before the next."""
        waiting = [(child, 0) for child in reversed(self.nodes[ROOT].children)]
        while waiting:
            node, depth = waiting.pop()
            run = [self.nodes[node].token_id]
            while len(children := self.nodes[node].children) == 1:
                (node,) = children
                run.append(self.nodes[node].token_id)
            yield depth, run
            waiting += [(child, depth + 1) for child in reversed(children)]

    def _remember(self) -> None:
        self._before.append((len(self.nodes), list(self.path), self.place))

    def _child(self, node: int, token_id: int) -> int:
        for child in self.nodes[node].children:
            if self.nodes[child].token_id == token_id:
                return child
        self.nodes.append(Node(node, token_id))
        self.nodes[node].children.append(len(self.nodes) - 1)
        return len(self.nodes) - 1

    def _follow(self, node: int) -> None:
        """Put a child of the cursor's node into view, and behind it what was taken last."""
        if self.place + 1 < len(self.path) and self.path[self.place + 1] == node:
            return
        del self.path[self.place + 1 :]
        self.path.append(node)
        while children := self.nodes[self.path[-1]].children:
            self.path.append(children[-1])
