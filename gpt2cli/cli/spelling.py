"""The library's messages as the command line spells them: `learning_rate` becomes --learning-rate."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpt2cli.cli.command_table import Commands

# A parameter, or with =False the option that turns it off.
PARAMETER = re.compile(r"`(\w+(?:=False)?)`")
COMMAND = re.compile(r"\bgpt2((?: \w+)+)")
# Parameters of the library that have another name in the commands.
SYNONYMS = {"evaluate_every": "eval_every", "type": "type_"}


def spell(text: str, words: Sequence[str] | None = None) -> str:
    """Return a message with each parameter in backquotes spelled as the user types it.

    The parameters are those of the command that `words` begin with (by default this process's arguments)
    and of any command that the message names. Anything else in backquotes stays.
    """
    if not PARAMETER.search(text):
        return text
    named = [match.split() for match in COMMAND.findall(text)]
    spellings: dict[str, str] = {}
    for path in (*named, sys.argv[1:] if words is None else words):
        spellings |= _spellings(_find(path))
    return PARAMETER.sub(lambda match: spellings.get(match[1], match[0]), text)


def _find(words: Sequence[str]) -> Any:
    """Return the command that the words begin with, or None if they do not name one."""
    found = None
    commands: Mapping[str, Any] = Commands()
    for word in words:
        if word not in commands:
            break
        found = commands[word]
        commands = getattr(found, "commands", {})
    return found


def _spellings(command: Any) -> dict[str, str]:
    spellings = dict(_own_spellings(command))
    return spellings | {name: spellings[own] for name, own in SYNONYMS.items() if own in spellings}


def _own_spellings(command: Any) -> Iterator[tuple[str, str]]:
    for parameter in command.params if command else ():
        if parameter.param_type_name == "argument":
            yield parameter.name, parameter.metavar or parameter.name.upper()
            continue
        yield parameter.name, max(parameter.opts, key=len)
        if parameter.secondary_opts:
            yield f"{parameter.name}=False", max(parameter.secondary_opts, key=len)
