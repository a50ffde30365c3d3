"""Random command lines: each does what it says, or ends with 1 or 2 and one line about what is wrong."""

from __future__ import annotations

import json
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
# What would rightly take for ever if it were large.
LONG = {
    "max_tokens",
    "min_tokens",
    "num_samples",
    "best_of",
    "steps",
    "epochs",
    "minutes",
    "rounds",
    "tokens",
}
LONG |= {"prompt_tokens", "batch", "top", "best", "logprobs"}
SMALL = (0, 1, 1, 2, 2, 3, 5, -1, 0.5)
# What options take that are not numbers or choices.
VALUES = {"device": "cpu", "candidates": "a,b", "filter": "ppl<50", "pairs": "pairs.tsv", "file": "text.txt"}
VALUES |= {"bias": "a=1", "valid": "text.txt", "tokenizer": "tiny", "parent": "tiny", "output": "out.txt"}
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
        ended = forked.run_command(arguments, self._folder, sandbox.environment(self._folder), stdin)
        if ended.code < 0 and any(len(word) > 6 and word.strip("-").isdigit() for word in arguments):
            return Outcome("endless")
        if ended.errors.lstrip().startswith(b"Usage: ") and ended.code == 2:
            return Outcome("usage")
        fault = fault_of_process(ended.code, ended.errors)
        if not fault and not ended.code and {"--json", "--jsonl"} & set(arguments) and "-h" not in arguments:
            fault = _fault_of_json(ended.output)
        return Outcome(f"ended with {ended.code}", fault)

    def keep(self, draw: Random, folder: Path) -> str:
        """Return the command line."""
        return f"gpt2 {self._arguments(draw)!r}"

    def _arguments(self, draw: Random) -> list[str]:
        """Return a command line; half of them have nothing odd in them but what was put together."""
        is_odd = draw.random() < 0.5
        words = draw.choice([name for name in self._commands if name[0] not in SELDOM or draw.random() < 0.1])
        # --debug asks for a traceback.
        given = [parameter for parameter in self._commands[words] if parameter.name != "debug"]
        options = [parameter for parameter in given if parameter.param_type_name == "option"]
        arguments = list(words)
        for option in draw.sample(
            options, min(len(options), draw.choice((0, 1, 1, 2, 3, 5) if is_odd else (0, 0, 1, 1, 2)))
        ):
            arguments += _option(draw, option, is_odd)
        arguments += BOUNDED.get(words[0], ())
        if any(option.name == "model" for option in options) and draw.random() < 0.9:
            arguments += ["-m", draw.choice(sandbox.MODELS if is_odd else ("tiny", "odd", "tiny.gguf"))]
        arguments += [_word(draw, is_odd) for _ in range(draw.choice((0, 1, 1, 1, 1, 2)))]
        if is_odd and draw.random() < 0.2:
            draw.shuffle(arguments)
        if is_odd and draw.random() < 0.2:
            arguments[draw.randrange(len(arguments))] = _word(draw, is_odd)
        # No process can be given NUL.
        return [argument.replace("\0", "") for argument in arguments]


def _option(draw: Random, option: Any, is_odd: bool) -> list[str]:
    name = draw.choice([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return [name]
    choices, kind = getattr(option.type, "choices", None), str(option.type.name)
    value: object
    if is_odd and draw.random() < 0.3:
        value = _word(draw, is_odd)
    elif choices:
        value = draw.choice(list(choices))
    elif "int" in kind or "float" in kind:
        value = draw.choice(SMALL if option.name in LONG or not is_odd else NUMBERS)
    else:
        value = VALUES.get(option.name) or _word(draw, is_odd)
    return [f"{name}={value}"] if draw.random() < 0.1 else [name, f"{value}"]


def _word(draw: Random, is_odd: bool) -> str:
    if draw.random() < 0.1:
        return f"out.{draw.choice(('txt', 'json', 'html', 'png', 'svg', 'u16', 'x'))}"
    if not is_odd:
        return draw.choice(("text.txt", "Once upon", "a b", "long.txt", "pairs.tsv"))
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
