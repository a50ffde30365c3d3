"""The commands, and the one place where errors and signals become exit codes."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from gpt2cli import __version__
from gpt2cli.cli.arguments import reject_dashed_text
from gpt2cli.cli.command_table import Commands
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.output.messages import print_message
from gpt2cli.errors import Error

if TYPE_CHECKING:
    from types import TracebackType

INTERRUPTED = 130


class LazyGroup(TyperGroup):
    """The group of all commands, which are imported on demand."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes | {"commands": Commands()})

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words before the command.

        Raises:
            UsageError: the first word is a text that looks like an option.
        """
        if not ctx.resilient_parsing:
            reject_dashed_text(self, "gpt2 generate", args[:1])
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the first word names.

        Raises:
            UsageError: there is no such command; the hint says what to run instead.
        """
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            from gpt2cli.cli.mistakes import unknown_command

            raise unknown_command(args, list(self.commands))
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="gpt2",
    cls=LazyGroup,
    help="GPT-2 and its family at the command line: generate, score, tokenize and train, on a CPU or a GPU.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gpt2cli {__version__}")
        raise typer.Exit


@app.callback(
    epilog="`gpt2 help generate` shows the options of a command. Exit codes: 0 done, 1 failed, 2 refused "
    "before any work. Ctrl-C and a closed pipe end gpt2 by their signals."
)
def gpt2(
    version: Annotated[
        bool,
        options.flag("--version", "-V", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """GPT-2 and its family at the command line: generate, score, tokenize and train, on a CPU or a GPU."""


def run() -> NoReturn:
    """Run the command in sys.argv and end the process with its exit code or signal."""
    if not _debugging():
        warnings.simplefilter("ignore")
    if "_GPT2_COMPLETE" in os.environ:
        # A shell would take each line of a wrapped description for a candidate.
        os.environ["COLUMNS"] = "1000"
    try:
        code = app(prog_name="gpt2", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BaseException as error:
        if _debugging() and not isinstance(error, SystemExit):
            sys.excepthook = _print_traceback
            raise
        _end(error)
    if code == INTERRUPTED:
        _die_of(signal.SIGINT)
    # Threads and PyTorch may have more to clean up.
    if not code and threading.active_count() == 1 and "torch" not in sys.modules:
        _exit_at_once()
    sys.exit(code)


def _exit_at_once() -> NoReturn:
    """End the process without tearing down the interpreter, which takes a tenth of a short command's time."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(0)


def _end(error: BaseException) -> NoReturn:
    """Report what stopped the command, in one line, and exit."""
    if isinstance(error, KeyboardInterrupt):
        _die_of(signal.SIGINT)
    # Typer turns a closed pipe into a plain exit with the original error as its context.
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        _die_of(signal.SIGPIPE)
    if isinstance(error, SystemExit):
        sys.exit(error.code)
    message, code = _explain(error)
    # Writing what is still buffered could fail again while Python shuts down.
    _discard_stdout()
    if type(error).__name__ == "NoArgsIsHelpError":
        print(message, file=sys.stderr)
    else:
        print_message(f"Error: {message}")
    sys.exit(code)


def _explain(error: BaseException) -> tuple[str, int]:
    if isinstance(error, Error):
        return str(error), error.exit_code
    if isinstance(error, typer.TyperException):
        return _explain_usage(error), error.exit_code
    from gpt2cli.cli.machine_errors import explain_machine_error

    if explained := explain_machine_error(error):
        return explained, 1
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{what}. This is a bug; --debug shows where.", 1


def _explain_usage(error: typer.TyperException) -> str:
    if type(error).__name__ == "NoArgsIsHelpError":
        return error.format_message().strip()
    from gpt2cli.cli.mistakes import usage_message

    return usage_message(error)


def _print_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback without passwords, in which nothing from elsewhere can act on a terminal."""
    from traceback import format_exception

    from gpt2cli.hub.network.logins import without_logins
    from gpt2cli.text.printable import visible

    if sys.stderr is not None:
        sys.stderr.write(visible(without_logins("".join(format_exception(kind, error, trace)))))


def _debugging() -> bool:
    return os.environ.get("GPT2_DEBUG", "") not in ("", "0")


def _die_of(cause: signal.Signals) -> NoReturn:
    # A shell loop stops only if its command was killed by the signal itself.
    _discard_stdout()
    signal.signal(cause, signal.SIG_DFL)
    os.kill(os.getpid(), cause)
    sys.exit(128 + cause)


def _discard_stdout() -> None:
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
