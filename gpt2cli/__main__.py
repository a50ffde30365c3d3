"""The entry point of `gpt2` and of `python -m gpt2cli`."""

from __future__ import annotations

import gc
import signal

# Starting creates many objects that stay alive. Searching them for garbage takes a thirtieth of the start.
START_OBJECTS = 50_000


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    # Until there is something to clean up, Ctrl-C may end the process at once, without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(START_OBJECTS)
    from gpt2cli.cli.app import run

    run()


if __name__ == "__main__":
    main()
