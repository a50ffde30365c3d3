"""The sentences of minimal pairs: a table of items under conditions, with regions in brackets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gpt2cli.errors import UsageError, brief
from gpt2cli.scoring.scored_text import Text

HEADER = ("item", "condition", "text")
_REGION = re.compile(r"\[([^\[\]]*)\]")
# What linguists call constituents and their functions, as in the Penn Treebank; none is an English word.
_CONSTITUENTS = (
    *("adjp", "advp", "conjp", "cp", "dp", "np", "nx", "pp", "qp", "sbar", "sbarq", "tp", "ucp", "vp"),
    *("whadjp", "whadvp", "whnp", "whpp", "adj", "adv", "aux", "det", "dobj", "iobj", "nsubj", "obj"),
    *("rc", "orc", "src", "subj"),
)
# One of these, perhaps with a function or a number (NP-SBJ, np2), a word with an underscore in it, or any
# word with a colon behind it.
_LABEL = re.compile(rf"\s*(?:((?i:{'|'.join(_CONSTITUENTS)})(?:[-=]\w+|\d+)*|\w+_\w+):?|([\w-]+):)\s+(?=\S)")


class Marked(NamedTuple):
    """A text without brackets, its regions as (start, end) in characters, and their labels.

    If it had no brackets, the whole text is the only region.
    """

    content: str
    regions: tuple[tuple[int, int], ...]
    labels: tuple[str | None, ...]


@dataclass(frozen=True)
class Sentence:
    """The text of an item under a condition; regions are (start, end) in characters.

    `text` is without the brackets; if it had none, the whole text is the only region. `labels` are those of
    the regions. `line` is its number in the file.
    """

    item: str
    condition: str
    text: Text
    regions: tuple[tuple[int, int], ...]
    line: int
    labels: tuple[str | None, ...] = (None,)


def parse_pairs(content: str, name: str) -> list[Sentence]:
    """Parse lines of item, condition and text, separated by tabs, with regions in brackets.

    A first line with these three names is a header. Empty lines are skipped. A region may begin with a label
    and a colon, or the name of a constituent, such as NP; the label is no part of the text.

    Raises:
        UsageError: a line has another form, or no item has two conditions; the message names the line.
    """
    sentences: dict[tuple[str, str], Sentence] = {}
    for number, line in enumerate(content.split("\n"), 1):
        fields = [_unquoted(field) for field in line.removesuffix("\r").split("\t")]
        if fields == [""] or (number == 1 and tuple(map(str.lower, fields)) == HEADER):
            continue
        where = f"{name}, line {number}"
        if len(fields) != len(HEADER):
            raise UsageError(f"{where}: {len(fields)} columns.", "Separate item, condition and text by tabs.")
        item, condition, marked = fields
        if (item, condition) in sentences:
            raise UsageError(f"{where}: item {brief(item)} has condition {brief(condition)} twice.")
        sentences[item, condition] = _sentence(item, condition, marked, number, where)
    _require_contrasts(list(sentences.values()), name)
    return list(sentences.values())


def missing_conditions(sentences: Iterable[Sentence]) -> str | None:
    """Return what to say about items that lack a condition which another item has; None if there are none."""
    conditions = list(dict.fromkeys(sentence.condition for sentence in sentences))
    present: dict[str, set[str]] = {}
    for sentence in sentences:
        present.setdefault(sentence.item, set()).add(sentence.condition)
    lacking = [item for item, found in present.items() if len(found) < len(conditions)]
    if not lacking:
        return None
    first = lacking[0]
    missed = ", ".join(condition for condition in conditions if condition not in present[first])
    more = f", and {len(lacking) - 1:,} more items lack one" if len(lacking) > 1 else ""
    return f"item {brief(first)} lacks the condition {brief(missed)}{more}"


def _unquoted(field: str) -> str:
    inner = field[1:-1]
    # Only a field that is quoted as CSV writers do; quotation marks within a text stay.
    if len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return field


def _sentence(item: str, condition: str, text: str, line: int, where: str) -> Sentence:
    marked = mark_regions(text, where)
    return Sentence(item, condition, Text(marked.content), marked.regions, line, marked.labels)


def mark_regions(text: str, where: str) -> Marked:
    """Return a text without the brackets that mark its regions; `where` is for messages.

    Raises:
        UsageError: a bracket has no counterpart, or a region or the whole text is empty.
    """
    content, regions, labels, position = "", [], [], 0
    for region in _REGION.finditer(text):
        content += text[position : region.start()]
        inner = region[1]
        if not inner.strip():
            raise UsageError(f"{where}: a region is empty.")
        labelled = _LABEL.match(inner)
        if labelled:
            inner = inner[labelled.end() :]
        labels.append(labelled and (labelled[1] or labelled[2]))
        start = len(content) + len(inner) - len(inner.lstrip())
        regions.append((start, start + len(inner.strip())))
        content += inner
        position = region.end()
    content += text[position:]
    if "[" in content or "]" in content:
        raise UsageError(f"{where}: a bracket has no counterpart.", "Brackets mark regions and do not nest.")
    if not content.strip():
        raise UsageError(f"{where}: the text is empty.")
    return Marked(content, tuple(regions) or ((0, len(content)),), tuple(labels) or (None,))


def _require_contrasts(sentences: Sequence[Sentence], name: str) -> None:
    firsts: dict[str, Sentence] = {}
    for sentence in sentences:
        first = firsts.setdefault(sentence.item, sentence)
        if len(first.regions) != len(sentence.regions):
            raise UsageError(
                f"{name}: item {brief(sentence.item)} has {len(first.regions)} regions in line {first.line} "
                f"and {len(sentence.regions)} in line {sentence.line}."
            )
        if first.labels != sentence.labels:
            raise UsageError(
                f"{name}: item {brief(sentence.item)} has the labels {_listed(first.labels)} "
                f"in line {first.line} and {_listed(sentence.labels)} in line {sentence.line}."
            )
    if len(firsts) == len(sentences):
        raise UsageError(f"{name}: no item has two conditions.", "A comparison needs two texts of an item.")


def _listed(labels: Iterable[str | None]) -> str:
    return brief(", ".join(label or "none" for label in labels))
