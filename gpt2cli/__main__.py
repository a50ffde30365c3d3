"""The entry point of `gpt2` and of `python -m gpt2cli`."""

# Part of the interpreter, so that nothing is imported before Ctrl-C can end the process without a traceback.
import _signal  # type: ignore[import-not-found]

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import gc

# Starting creates many objects that stay alive. Searching them for garbage takes a thirtieth of the start.
START_OBJECTS = 50_000


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    gc.set_threshold(START_OBJECTS)
    from gpt2cli.cli.app import run

    run()


if __name__ == "__main__":
    main()
