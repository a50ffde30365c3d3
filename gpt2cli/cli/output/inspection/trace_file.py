"""A trace of sampling in a file: a page to step through, or JSON lines."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2cli.cli.output.file_formats import file_format
from gpt2cli.cli.output.streams import json_line, open_output

if TYPE_CHECKING:
    from gpt2cli.generation.continuation import Continuation
    from gpt2cli.inspection.trace import Trace


class TraceFile:
    """A file for the trace of a run, which must not have begun."""

    def __init__(self, path: Path, run: Continuation) -> None:
        from gpt2cli.inspection.trace import trace_sampling

        self._path = path
        self._run = run
        self._trace: Trace = trace_sampling(run)

    def write(self) -> None:
        """Write all steps in the format that the file's name asks for, JSON lines by default.

        Raises:
            OSError: writing failed.
        """
        run, steps = self._run, self._trace.steps
        files = run.loaded.files
        with open_output(self._path) as write:
            if file_format(self._path, ("html", "jsonl")) == "html":
                from gpt2cli.inspection.pictures.trace_page import trace_page

                write(trace_page(steps, run.text or "", f"{files.name}: sampling, seed {run.seed}"))
                return
            shared = {"model": files.name, "revision": files.revision, "seed": run.seed}
            for step in steps:
                write(json_line(asdict(step) | shared))
