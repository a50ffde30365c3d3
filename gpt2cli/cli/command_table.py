"""The commands by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from gpt2cli.cli.arguments import reject_dashed_text, reject_repeats

# In the order of use. Each command's function is in the module of the command's name. A few functions have
# another name because Python has taken the command's.
COMMANDS = {
    "generate": "generate",
    "next": "next_tokens",
    "score": "score",
    "rank": "rank",
    "lens": "lens",
    "attention": "attention",
    "diff": "diff",
    "serve": "serve",
    "tokenize": "tokenize",
    "explore": "explore",
    "replay": "replay",
    "compress": "compress",
    "decompress": "decompress",
    "train": "train",
    "export": "export",
    "download": "download",
    "models": "models",
    "bench": "bench",
    "info": "info",
    "help": "show_help",
}
# The folder of a command's module, where it has one.
INSPECTION = ("lens", "attention", "diff", "explore", "replay", "compress", "decompress")
FOLDERS = dict.fromkeys(INSPECTION, "inspection")


class Command(TyperCommand):
    """A command that checks its words, and whose help lists --help in the panel of its last option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words of a command line.

        Raises:
            UsageError: a text looks like an option, or an option was given again that is used once.
        """
        if not ctx.resilient_parsing:
            reject_dashed_text(self, ctx.command_path, args)
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            reject_repeats(given)
        return super().parse_args(ctx, args)

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help."""
        option: Any = super().get_help_option(ctx)
        if option and self.params:
            option.rich_help_panel = getattr(self.params[-1], "rich_help_panel", None)
        return option


class Commands(Mapping[str, Any]):
    """The commands by name; each one's module is imported when it is looked up."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        function = COMMANDS[name]
        command = getattr(import_module(module_of(name)), function)
        holder = typer.Typer(rich_markup_mode="markdown")
        if isinstance(command, typer.Typer):
            holder.add_typer(command, name=name)
        else:
            holder.command(name, cls=Command)(command)
        return typer.main.get_group(holder).commands[name]


def module_of(name: str) -> str:
    """Return the name of the module that a command is in."""
    return ".".join(filter(None, ("gpt2cli.cli.commands", FOLDERS.get(name), name)))
