"""Common mistakes on the command line, and what to do about each."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

import typer

from gpt2cli.cli.input.text import is_file
from gpt2cli.errors import UsageError

# Command names that other tools use or that people expect here.
ELSEWHERE = {
    "chat": 'The models continue text and have no chat: gpt2 generate "Once upon a time".',
    "complete": 'Use gpt2 generate "Once upon a time".',
    "decode": "Use gpt2 tokenize --decode.",
    "encode": "Use gpt2 tokenize.",
    "convert": "Use gpt2 export MODEL -o FILE.gguf, or -o FOLDER for safetensors.",
    "finetune": "Use gpt2 train TEXT --from MODEL -o DIR.",
    "list": "Use gpt2 models list.",
    "ls": "Use gpt2 models list.",
    "perplexity": "Use gpt2 score --by document FILE.",
    "ppl": "Use gpt2 score --by document FILE.",
    "pull": "Use gpt2 download MODEL.",
    "quantize": "Use gpt2 export MODEL -o FILE.gguf --type q8_0, or generate with --quantize int8.",
    "rm": "Use gpt2 models rm MODEL.",
    "run": 'Use gpt2 generate "Once upon a time" -m MODEL.',
    "show": "Use gpt2 models show MODEL.",
    "surprisal": "Use gpt2 score FILE.",
    "version": "Use gpt2 --version.",
}
# It has no value elsewhere.
JSONL = "--jsonl needs a FILE of lines to answer, or -; in gpt2 score, --json-rows prints rows as JSON lines"
EXTRA_WORDS = "Got unexpected extra argument"


def unknown_command(words: Sequence[str], commands: Collection[str]) -> UsageError:
    """Return the error for a command line whose first word is not a command."""
    word = words[0]
    if word in ELSEWHERE:
        return UsageError(f"There is no command {word!r}.", ELSEWHERE[word])
    if " " in word or is_file(word):
        source = ["-f", word] if is_file(word) else [word]
        line = shlex.join(["gpt2", "generate", *source, *words[1:]])
        return UsageError(f"There is no command {word!r}.", f"To continue this text: {line}")
    close = get_close_matches(word, commands, n=1)
    hint = f"Did you mean gpt2 {close[0]}?" if close else f"Commands: {', '.join(commands)}."
    return UsageError(f"There is no command {word!r}.", hint)


def unknown_option(name: str, options: Collection[str]) -> str:
    """Return the message for an option that a command does not have."""
    begun = [option for option in options if option.startswith(name)]
    close = begun or get_close_matches(name, options, n=2, cutoff=0.7)
    hint = f" Did you mean {' or '.join(sorted(close)[:2])}?" if close else ""
    return f"There is no option {name}.{hint}"


def usage_message(error: typer.TyperException) -> str:
    """Return the message for a rejected command line, in one line.

    The parser's exception classes are private to Typer, so errors are told apart by their attributes.
    """
    context: Any = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split()).rstrip(".")
    if name := getattr(error, "option_name", None):
        if context and message.startswith("No such option"):
            message = unknown_option(name, _options(context))
        elif name == "--jsonl" and message.endswith("requires an argument"):
            message = JSONL
    elif message.startswith(EXTRA_WORDS) and context:
        message = _unquoted(context, message) or message
    end = "" if message.endswith("?") else "."
    command = context.command_path if context else "gpt2"
    return f"{message.removesuffix('.')}{end} See {command} --help."


def _options(context: Any) -> list[str]:
    names = [name for parameter in context.command.params for name in parameter.opts]
    return [name for name in names if name.startswith("--")]


def _unquoted(context: Any, message: str) -> str | None:
    """Return a message with the whole text in quotes, or None if the command does not take a text."""
    first = context.params.get("prompt") or context.params.get("text")
    if not isinstance(first, str) or context.command.name not in ("generate", "next"):
        return None
    rest = message.partition(" (")[2].removesuffix(")")
    line = shlex.join(["gpt2", context.command.name, f"{first} {rest}"])
    return f"A text of several words needs quotes: {line}"
