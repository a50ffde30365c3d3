"""The commands by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer

# In the order of use. Each command's function is in the module of the command's name. A few functions have
# another name because Python has taken the command's.
COMMANDS = {
    "generate": "generate",
    "next": "next_tokens",
    "score": "score",
    "rank": "rank",
    "tokenize": "tokenize",
    "train": "train",
    "download": "download",
    "models": "models",
    "bench": "bench",
    "info": "info",
    "help": "show_help",
}


class Commands(Mapping[str, Any]):
    """The commands by name; each one's module is imported when it is looked up."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        function = COMMANDS[name]
        command = getattr(import_module(f"gpt2cli.cli.commands.{name}"), function)
        holder = typer.Typer(rich_markup_mode="markdown")
        if isinstance(command, typer.Typer):
            holder.add_typer(command, name=name)
        else:
            holder.command(name)(command)
        return typer.main.get_group(holder).commands[name]
