"""The words of a command line that the parser would misread: texts that look like options, and repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from gpt2cli.errors import UsageError

LONGEST_QUOTED = 60
# What is read, which model reads it, and where the result goes: a second one would be lost without a word.
# Of other options the last one counts, so that an alias can have defaults.
ONCE = {
    *("file", "text", "pairs", "valid", "keep", "candidates"),
    *("model", "parent", "tokenizer", "output", "trace"),
}


def reject_dashed_text(command: Any, path: str, words: Sequence[str]) -> None:
    """Check that no text among the words begins with a dash, which the parser would read as options.

    Raises:
        UsageError: one does; the hint shows how to give it.
    """
    for word in _option_words(command, words):
        if not _may_be_option(word):
            import shlex

            whole = len(word) <= LONGEST_QUOTED and word.isprintable()
            shown = repr(word) if whole else f"A text that begins {word[:LONGEST_QUOTED]!r}"
            line = f"{path} -- {shlex.quote(word) if whole else 'TEXT'}"
            raise UsageError(f"{shown} looks like an option.", f"Put such a text last, after --: {line}")


def reject_repeats(given: Sequence[Any]) -> None:
    """Check that options which name a text, a model or a file were given once; `given` has them in order.

    Raises:
        UsageError: one was given again.
    """
    counts = Counter(given)
    for option, count in counts.items():
        if count > 1 and option.param_type_name == "option" and option.name in ONCE and not option.multiple:
            name = " or ".join(sorted(option.opts, key=len))
            raise UsageError(f"{name} was given {count} times.", "Give it once.")


def _may_be_option(word: str) -> bool:
    """Return whether a word is like -n, --seed, --seed=1 or -n5, not like "- item", -5 or --- title."""
    name = word.removeprefix("-").removeprefix("-").partition("=")[0]
    return name.isascii() and name[:1].isalpha() and len(name.split()) == 1


def _option_words(command: Any, words: Sequence[str]) -> Iterator[str]:
    """Yield the words that the parser takes for options: not their values, nor what follows `--`."""
    valued = {
        name
        for parameter in command.params
        if parameter.param_type_name == "option" and not (parameter.is_flag or parameter.count)
        for name in parameter.opts
    }
    rest = iter(words)
    for word in rest:
        if word == "--":
            return
        if not word.startswith("-") or word == "-":
            continue
        yield word
        # The last letter of -qn takes the next word as its value.
        if word in valued or (not word.startswith("--") and _takes_next(word[1:], valued)):
            next(rest, None)


def _takes_next(letters: str, valued: set[str]) -> bool:
    takers = [index for index, letter in enumerate(letters) if f"-{letter}" in valued]
    return bool(takers) and takers[0] == len(letters) - 1
