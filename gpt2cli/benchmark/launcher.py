"""Run a command and report its wall-clock time and its peak memory to a file descriptor.

    python launcher.py DESCRIPTOR COMMAND...

Linux counts the peak of the parent as that of its child too, so this parent is small.
"""

import json
import os
import sys
import time


def main() -> None:
    """Run the command that `sys.argv` names."""
    descriptor, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(descriptor, False)
    start = time.perf_counter()
    process = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    # In bytes on macOS, in KiB elsewhere.
    peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    report = {"seconds": seconds, "peak_bytes": peak_bytes, "status": os.waitstatus_to_exitcode(status)}
    os.write(descriptor, json.dumps(report).encode())


if __name__ == "__main__":
    main()
