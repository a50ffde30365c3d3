"""Random command lines: each does what it says, or ends with 1 or 2 and one line about what is wrong."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import typer

from fuzz.mutation import NUMBERS
from fuzz.processes import forked, sandbox
from fuzz.search import Outcome
from fuzz.verdict import fault_of_process
from gpt2cli.cli.app import app

WORDS = (
    *(
        "Once upon",
        "",
        " ",
        "é",
        "👍🏽",
        "a\nb",
        "-",
        "--",
        "-x",
        "\x1b[5mred",
        "\u202eevil",
        "\udce9",
        "²",
        "x=1",
        "a,b",
    ),
    *(
        "<|endoftext|>",
        "%s",
        "{}",
        "'",
        '"',
        "ppl<50",
        "nan",
        "1e999",
        "0x10",
        "auto",
        "none",
        "cuda:99",
        "all",
        "q" * 500,
    ),
)
# What parameters take that are not numbers or choices.
TEXT_FILES = ("text.txt", "long.txt", "ids.txt", "table.csv", "-")
VALUES: dict[str, Sequence[str]] = {
    "against": ("processes",),
    "api_key": ("secret",),
    "bias": ("a=1", " the=-2"),
    "candidates": ("a,b",),
    "device": ("cpu",),
    "field": ("text", "prompt", "id"),
    "file": TEXT_FILES,
    "files": TEXT_FILES,
    "group": ("id",),
    "head": ("0.0", "0.1"),
    "host": ("127.0.0.1",),
    "items": ("pairs.tsv", "table.csv"),
    "jsonl": ("lines.jsonl", "table.csv", "-"),
    "kv_memory": ("1M", "64M", "50%"),
    "layers": ("0", "0,1"),
    "model": ("tiny", "odd", "tiny.gguf"),
    "models": ("tiny", "odd"),
    "name": ("stories", "tiny"),
    "names": ("stories", "tiny"),
    "only": ("decode",),
    "opened": ("seen.json",),
    "output": ("out.txt", "out.json", "out.html", "out.png", "out.svg"),
    "pairs": ("pairs.tsv",),
    "parent": ("tiny",),
    "positions": ("0", "0,1", "-1"),
    "prompt": ("Once upon", "a", "-"),
    "record": ("record.json",),
    "shard": ("1/2", "2/2"),
    "span": ("upon",),
    "text": ("Once upon a time", "a"),
    "texts": ("text.txt", "long.txt"),
    "tokenizer": ("tiny",),
    "trace": ("trace.npz",),
    "valid": ("text.txt",),
    "words": ("generate", "models"),
}
# After which a server is asked to end.
SERVED_SECONDS = 0.5
# Each takes seconds to import or to run.
SELDOM = ("train", "bench", "download")
BOUNDED = {
    "generate": ("-n", "3"),
    "train": (
        "--steps",
        "1",
        "--layers",
        "1",
        "--width",
        "8",
        "--heads",
        "1",
        "--context",
        "8",
        "--vocab",
        "300",
    ),
    "bench": ("--only", "decode", "--rounds", "1", "--tokens", "2", "--prompt-tokens", "2"),
}


class CommandLines:
    """Commands with random options, texts, files and streams."""

    name = "commands"

    def prepare(self, folder: Path) -> None:
        """Make the folder that the commands run in."""
        # As deep as the names that lead upwards.
        self._folder = folder / "a" / "b" / "c"
        self._folder.mkdir(parents=True)
        forked.call(lambda: sandbox.make_sandbox(self._folder))
        forked.load_the_commands()
        self._commands = dict(_commands(typer.main.get_command(app), ()))

    def attempt(self, draw: Random) -> Outcome:
        """Run a command."""
        arguments = self._arguments(draw)
        stdin = draw.choice((b"", b"Once upon a time\n", b"1 2 3\n", bytes(range(256)), b"a\tb\tc\n"))
        environment, serves = sandbox.environment(self._folder), arguments[0] == "serve"
        ended = forked.run_command(arguments, self._folder, environment, stdin, _end_soon if serves else None)
        if ended.code < 0 and any(len(word) > 6 and word.strip("-").isdigit() for word in arguments):
            return Outcome("endless")
        if serves and ended.code in (-signal.SIGTERM, 0):
            return Outcome("served")
        if ended.errors.lstrip().startswith(b"Usage: ") and ended.code == 2:
            return Outcome("usage")
        if "replay" in arguments and ended.code == 1 and ended.output and not ended.errors:
            return Outcome("differs")
        # Each line that fails has its error in its answer.
        if ended.code == 1 and b'"error"' in ended.output and b"Error: " not in ended.errors:
            return Outcome("lines failed", fault_of_process(0, ended.errors))
        fault = fault_of_process(ended.code, ended.errors)
        if not fault and not ended.code and {"--json", "--jsonl"} & set(arguments) and "-h" not in arguments:
            fault = _fault_of_json(ended.output)
        return Outcome(f"ended with {ended.code}", fault)

    def keep(self, draw: Random, folder: Path) -> str:
        """Return the command line."""
        return f"gpt2 {self._arguments(draw)!r}"

    def _arguments(self, draw: Random) -> list[str]:
        """Return a command line; half of them have nothing odd in them but what was put together."""
        oddness = draw.choice((0.0, 0.0, 0.1, 0.4))
        words = draw.choice([name for name in self._commands if name[0] not in SELDOM or draw.random() < 0.1])
        # --debug asks for a traceback.
        given = [parameter for parameter in self._commands[words] if parameter.name != "debug"]
        arguments = list(words)
        for option in _drawn_options(draw, given, oddness):
            arguments += _option(draw, option, oddness)
        arguments += BOUNDED.get(words[0], ())
        for argument in given:
            if argument.param_type_name == "argument" and (argument.required or draw.random() < 0.7):
                arguments += _positional(draw, argument, oddness)
        if draw.random() < oddness:
            arguments.append(_word(draw))
        if draw.random() < oddness / 2:
            draw.shuffle(arguments)
        if draw.random() < oddness / 2:
            arguments[draw.randrange(len(arguments))] = _word(draw)
        # No process can be given NUL.
        return [argument.replace("\0", "") for argument in arguments]


def _end_soon() -> None:
    timer = threading.Timer(SERVED_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()


def _drawn_options(draw: Random, given: Sequence[Any], oddness: float) -> list[Any]:
    """Return a few options, among them those that a command needs, and a model."""
    options = [parameter for parameter in given if parameter.param_type_name == "option"]
    needed = [option for option in options if option.required or option.name == "model"]
    others = [option for option in options if option not in needed]
    drawn = draw.sample(others, min(len(others), draw.choice((0, 1, 1, 2, 3, 5))))
    return [*(option for option in needed if draw.random() < 0.95 - oddness / 2), *drawn]


def _option(draw: Random, option: Any, oddness: float) -> list[str]:
    name = draw.choice([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return [name]
    # A difference needs two models.
    times = 2 if option.name == "models" else 1
    words = []
    for _ in range(times):
        value = _value(draw, option, oddness)
        words += [f"{name}={value}"] if draw.random() < 0.1 else [name, value]
    return words


def _positional(draw: Random, argument: Any, oddness: float) -> list[str]:
    many = argument.nargs == -1
    return [_value(draw, argument, oddness) for _ in range(draw.choice((1, 1, 2)) if many else 1)]


def _value(draw: Random, parameter: Any, oddness: float) -> str:
    choices, kind = getattr(parameter.type, "choices", None), str(parameter.type.name)
    if draw.random() < oddness:
        return str(draw.choice(NUMBERS)) if "int" in kind or "float" in kind else _word(draw)
    if choices:
        return str(draw.choice(list(choices)))
    if "int" in kind or "float" in kind:
        return str(_number(draw, parameter, kind))
    return draw.choice(VALUES.get(parameter.name, ("Once upon", "a b", "text.txt")))


def _number(draw: Random, parameter: Any, kind: str) -> object:
    """Return a number that a command takes, which is 0 to 5 where anything is."""
    least, most = (getattr(parameter.type, bound, None) for bound in ("min", "max"))
    number = draw.choice((0, 1, 1, 2, 2, 3, 5) if "int" in kind else (0.5, 0.9, 1.0))
    return min(max(number, least or 0), number if most is None else most)


def _word(draw: Random) -> str:
    words = (WORDS, WORDS, sandbox.TEXTS, sandbox.TEXTS, sandbox.OTHERS, sandbox.MODELS, sandbox.ODD_NAMES)
    word = draw.choice(draw.choice(words))
    if word and draw.random() < 0.1:
        at = draw.randrange(len(word))
        word = word[:at] + draw.choice(("", word, "\x1b", "=", " ", "é")) + word[at + 1 :]
    return word


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Sequence[Any]]]:
    """Yield the words and parameters of each command."""
    inner = getattr(command, "commands", {})
    for name in inner:
        yield from _commands(inner[name], (*words, name))
    if not inner:
        yield words, command.params


def _fault_of_json(output: bytes) -> str:
    """Return what is wrong with what --json printed, or nothing."""
    try:
        json.loads(output)
    except ValueError:
        try:
            for line in output.splitlines():
                json.loads(line)
        except ValueError:
            return f"it printed no JSON: {output[:300]!r}"
    return ""
