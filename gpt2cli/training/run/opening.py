"""Begin the run that a request asks for, or resume it, and open it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2cli.hub.reporter import Reporter
from gpt2cli.training.data.sources import Sources
from gpt2cli.training.run.preparation import prepare
from gpt2cli.training.run.run_folder import RunFolder
from gpt2cli.training.run.run_request import RunRequest
from gpt2cli.training.step.place import Place

if TYPE_CHECKING:
    from gpt2cli.training.run.training_run import TrainingRun


@contextmanager
def open_run(request: RunRequest, sources: Sources | None = None) -> Iterator[TrainingRun]:
    """Open a run in the folder of a request, where this process or the first of a job has put it.

    Raises:
        UsageError: the values do not go together, or the folder is not free, or holds no run to resume.
        InputError: a text cannot be read, or the folder cannot be written.
        HubError, CheckpointError: the parent cannot be fetched or read, or the resumed run is damaged.
        Error: another process of the job does not answer.
    """
    folder = RunFolder(Path(request.output))
    threads = request.threads
    if request.resume:
        folder.require_run()
        # Another number of threads rounds sums differently, and the losses would part.
        threads = threads or folder.load_options().get("threads")
    place = Place.of_this_process(request.device, threads)
    reporter = (request.reporter if place.rank == 0 else None) or Reporter()
    if place.rank == 0:
        _fill_folder(folder, request, place, sources or Sources(), reporter)
    device = place.open().device_name
    from gpt2cli.training.run.training_run import TrainingRun
    from gpt2cli.training.step.data_parallel import join_ranks

    ranks = join_ranks(device, place.rank, place.count)
    try:
        run = TrainingRun(folder, device, ranks, request.compile)
        if run.progress.step:
            reporter.note(f"Resuming after step {run.progress.step:,}")
        yield run
    finally:
        ranks.leave()


def _fill_folder(
    folder: RunFolder, request: RunRequest, place: Place, sources: Sources, reporter: Reporter
) -> None:
    """Leave a run in the folder that can be opened."""
    if request.resume:
        request.require_same(folder.load_options().get("request", {}))
        return
    request.require_sense()
    folder.require_vacant(request.force)
    beginning = prepare(request, folder, place, request.offline, reporter, sources)
    from gpt2cli.training.run.beginning import begin_run

    with folder.created():
        begin_run(folder, beginning)
