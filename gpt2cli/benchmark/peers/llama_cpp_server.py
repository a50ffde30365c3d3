"""llama.cpp's server from the package xllamacpp.

python -m gpt2cli.benchmark.peers.llama_cpp_server TASK PORT
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any


def serve(task: Mapping[str, Any], port: int) -> None:
    """Serve a GGUF file until a signal ends the process."""
    llama = import_module("xllamacpp")
    parameters = llama.CommonParams()
    parameters.model.path = task["file"]
    parameters.port = port
    parameters.n_parallel, parameters.n_ctx = task["slots"], task["positions"]
    parameters.n_threads_http = task["clients"] + 4
    parameters.cache_ram_mib = 0
    if task["threads"]:
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = task["threads"]
    server = llama.Server(parameters)
    signal.pause()
    del server


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]), int(sys.argv[2]))
