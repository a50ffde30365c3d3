"""`gpt2 replay`: a recorded sample, run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2cli.cli.input.text import read_text, require_stdin, source_name
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.options.groups import takes_groups
from gpt2cli.cli.output.streams import json_line, open_output
from gpt2cli.text.printable import escaped

if TYPE_CHECKING:
    from gpt2cli.inspection.replay import Replay


@takes_groups
def replay(
    *,
    record: Annotated[
        str | None,
        typer.Argument(
            metavar="RECORD", show_default=False, help="What `generate --json` wrote; - is stdin."
        ),
    ] = None,
    json: options.Json = False,
    model: options.ModelOptions,
    compute: options.ComputeOptions,
    verbosity: options.MessageOptions,
) -> None:
    """Generate the samples of a RECORD again and compare them.

    Where a sample differs, print the first token that does and what has changed since: files of the model,
    versions, backend, kernels. The exit code is 1 if any sample differs.

    The model, device, backend and type are those of the record unless they are given. A model that is not
    here is downloaded.

    `gpt2 generate "Once upon a time" --record tale.json; gpt2 replay tale.json`
    """
    messages = verbosity.messages()
    if record is None:
        require_stdin("Name a RECORD, or pipe one in.")
    source = record or "-"
    from gpt2cli.inspection.replay import read_records
    from gpt2cli.inspection.replay import replay as run_again

    records = read_records(read_text(source), source_name(source))
    loaded: dict[Any, Any] = {}
    all_same = True
    with open_output(None) as write:
        for entry in records:
            named, chosen = model.model or entry.model, entry.compute(compute)
            if (named, chosen) not in loaded:
                # Two models at once may not fit.
                loaded.clear()
                where = options.ModelOptions(named, model.offline)
                loaded[named, chosen] = where.load(chosen, messages, for_decoding=True)
            done = run_again(loaded[named, chosen], entry)
            all_same = all_same and done.same
            write(json_line(vars(done)) if json else _text(done).encode())
    if not all_same:
        raise typer.Exit(1)


def _text(done: Replay) -> str:
    title = f"sample {done.index}: "
    if done.same:
        return f"{title}the same text, {done.tokens:,} tokens\n"
    if done.token is None:
        title += "the same tokens, another text\n"
    else:
        title += f"differs at token {done.token:,}: {_shown(done.recorded)}, now {_shown(done.now)}\n"
    changes = done.changes or ["nothing that the record knows has changed"]
    # They quote the record.
    return title + "".join(f"  {escaped(change)}\n" for change in changes)


def _shown(text: str | None) -> str:
    return "the end" if text is None else repr(text)
