"""`gpt2 next`: what the model expects after a text."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt2cli.cli.input.text import argument_text, read_prompt
from gpt2cli.cli.loading import LoadedModel, load_for_command
from gpt2cli.cli.options import sampling as choose
from gpt2cli.cli.options import scoring
from gpt2cli.cli.options import shared as options
from gpt2cli.cli.output.messages import Messages
from gpt2cli.cli.output.rows import RowOutput
from gpt2cli.cli.output.streams import open_output, stdout_is_terminal
from gpt2cli.errors import UsageError

if TYPE_CHECKING:
    from gpt2cli.generation.engine import Prefilled
    from gpt2cli.scoring.rows import Unit

TOKEN_COLUMNS = ("place", "token", "id", "probability", "surprisal")
CANDIDATE_COLUMNS = ("place", "text", "tokens", "probability", "surprisal")


def next_tokens(
    text: Annotated[
        str | None,
        typer.Argument(metavar="TEXT", show_default=False, help="The text that goes on; - reads stdin."),
    ] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="Read the text from FILE.")
    ] = None,
    count: Annotated[
        int, typer.Option("--top", "-k", min=1, metavar="K", help="Print the K likeliest tokens.")
    ] = 10,
    candidates: Annotated[
        str | None,
        typer.Option(
            "--candidates",
            metavar="A,B,C",
            show_default=False,
            help="Rank these continuations instead, spelt exactly: ' mat, rug' both begin with a space.",
        ),
    ] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option(
            "--candidate",
            metavar="TEXT",
            show_default=False,
            help="Rank this continuation too, commas and all; may be repeated.",
        ),
    ] = None,
    json: Annotated[bool, options.flag("--json", help="Print one JSON object.")] = False,
    unit: scoring.Unit = "bits",
    bos: Annotated[
        bool,
        options.flag(
            "--bos/--no-bos",
            rich_help_panel=scoring.SCORING,
            help="Put the beginning-of-text token before TEXT, as `gpt2 score` does and `generate` does not.",
        ),
    ] = False,
    truncate: choose.Truncate = None,
    output: options.Output = None,
    model: options.Model = None,
    color: options.Color = "auto",
    device: options.Device = "auto",
    backend: options.Backend = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = "none",
    threads: options.Threads = None,
    offline: options.Offline = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Print the tokens that are likeliest to follow TEXT, or how likely given continuations are.

    Without TEXT and --file, the text is read from stdin; one final line end of it is dropped.

    `gpt2 next "The cat sat on the"`

    `gpt2 next "The cat sat on the" --candidates " mat, floor, windowsill"`
    """
    messages = Messages(quiet, verbose, color)
    wanted = _candidates(candidates, candidate or [])
    content = read_prompt(text, file, False, messages.note)
    if not content and not bos:
        raise UsageError("The text is empty.", "Use --bos to begin from nothing.")
    _note_spaces(content, wanted, messages)
    from gpt2cli.ops.backend import open_backend

    ops = open_backend(device, backend, dtype, threads, quantize)
    loaded = load_for_command(model, ops, offline, messages)
    start = time.perf_counter()
    from gpt2cli.generation.engine import fit_prompt, prefill

    continuations = [loaded.tokenizer.encode(entry) for entry in wanted]
    room = max(map(len, continuations), default=1)
    encoded = [*([scoring.bos_id(loaded)] if bos else []), *loaded.tokenizer.encode(content)]
    context = loaded.model.config.n_positions
    if room > context:
        raise UsageError(f"A candidate has {room:,} tokens and the model's context holds {context:,}.")
    # The last token of a candidate is never read.
    ids, truncated = fit_prompt(encoded, context + 1 - room, 1, truncate)
    if truncated:
        messages.note(f"The text was cut to {len(ids):,} tokens.")
    prompt = prefill(loaded.model, ids, room)
    records = (
        _candidate_records(loaded, prompt, wanted, continuations, unit)
        if wanted
        else _token_records(loaded, prompt, count, unit)
    )
    scoring.tell_timing(messages, loaded, start)
    metadata = {"model": loaded.files.name, "revision": loaded.files.revision, "unit": unit, "bos": bos}
    if output is None and not json and stdout_is_terminal():
        from gpt2cli.cli.output.terminal.probability_bars import print_bars

        print_bars(records, color)
        return
    with open_output(output) as write:
        columns = CANDIDATE_COLUMNS if wanted else TOKEN_COLUMNS
        RowOutput("json" if json else "tsv", write).write_rows(metadata, columns, records)


def _candidates(listed: str | None, single: Sequence[str]) -> list[str]:
    entries = ([] if listed is None else listed.split(",")) + list(single)
    if not all(entries):
        raise UsageError("A candidate is empty.", "Spell each exactly, spaces included.")
    return [argument_text(entry, "--candidate") for entry in entries]


def _note_spaces(text: str, candidates: Sequence[str], messages: Messages) -> None:
    if text[-1:].isspace():
        messages.note("note: the text ends in white space, which GPT-2 expects as a part of what follows")
    elif text[-1:].isalnum() and candidates and all(entry[0].isalnum() for entry in candidates):
        messages.note("note: no candidate begins with a space, so each is read as the end of the last word")


def _token_records(
    loaded: LoadedModel, prompt: Prefilled[Any], count: int, unit: Unit
) -> list[dict[str, Any]]:
    from gpt2cli.generation.completion import token_text
    from gpt2cli.scoring.continuations import likeliest_tokens

    return [
        {
            "place": place,
            "token": token_text(loaded.tokenizer.token_bytes(token_id)),
            "id": token_id,
            **_likelihood(logprob, unit),
        }
        for place, (token_id, logprob) in enumerate(likeliest_tokens(prompt, count), 1)
    ]


def _candidate_records(
    loaded: LoadedModel,
    prompt: Prefilled[Any],
    candidates: Sequence[str],
    continuations: Sequence[Sequence[int]],
    unit: Unit,
) -> list[dict[str, Any]]:
    from gpt2cli.scoring.continuations import continuation_logprobs

    logprobs = continuation_logprobs(loaded.model, prompt, continuations)
    ranked = sorted(zip(logprobs, candidates, continuations, strict=True), key=lambda entry: -entry[0])
    return [
        {"place": place, "text": text, "tokens": len(ids), **_likelihood(logprob, unit)}
        for place, (logprob, text, ids) in enumerate(ranked, 1)
    ]


def _likelihood(logprob: float, unit: Unit) -> dict[str, float]:
    from gpt2cli.scoring.rows import in_unit

    return {"probability": math.exp(logprob), "surprisal": in_unit(max(0.0, -logprob), unit)}
