"""The options of `gpt2 train`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gpt2cli.cli.options.shared import (
    COMPUTE,
    MODEL,
    SPECIAL_HELP,
    Device,
    Offline,
    Threads,
    flag,
    model_names,
)
from gpt2cli.training.plan.request import DocumentKind
from gpt2cli.training.plan.settings import OptimizerName, Precision, SizeName
from gpt2cli.training.run.run_request import RunRequest

_text = partial(typer.Option, rich_help_panel="Text")
_model = partial(typer.Option, rich_help_panel="New model")
_training = partial(typer.Option, rich_help_panel="Training")
_tuning = partial(typer.Option, rich_help_panel="Fine-tuning")
_compute = partial(typer.Option, rich_help_panel=COMPUTE)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(RunRequest):
    """What to train, where to compute it, and where to keep it."""

    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXT",
            show_default=False,
            help="Text, tables or token files, or folders; - or none is stdin.",
        ),
    ]
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the model and the run.")
    ]
    parent: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            autocompletion=model_names,
            rich_help_panel=MODEL,
            help="Fine-tune this model.",
        ),
    ]
    resume: Annotated[bool, flag("--resume", help="Continue the run in DIR exactly.")]
    force: Annotated[bool, flag("--force", help="Replace the run in DIR.")]
    offline: Offline
    document: Annotated[
        DocumentKind | None,
        _text(show_default="marker", help="Documents end at <|endoftext|>, or with files."),
    ]
    field: Annotated[
        str | None,
        _text(metavar="NAME", show_default="text", help="Field of JSON Lines, or column of a table."),
    ]
    special: Annotated[bool | None, flag("--special", rich_help_panel="Text", help=SPECIAL_HELP)]
    valid: Annotated[
        str | None,
        _text(metavar="FILE", show_default="the end of TEXT", help="Held-out file, same formats as TEXT."),
    ]
    size: Annotated[SizeName | None, _model(show_default="by the text", help="Number of parameters.")]
    layers: Annotated[int | None, _model(metavar="N", help="Number of blocks.")]
    heads: Annotated[int | None, _model(metavar="N", help="Attention heads in each block.")]
    width: Annotated[int | None, _model(metavar="N", help="Embedding width.")]
    vocab: Annotated[
        int | None, _model(metavar="N", show_default="by the text", help="Train a tokenizer of N tokens.")
    ]
    tokenizer: Annotated[
        str | None,
        _model(metavar="MODEL", autocompletion=model_names, help="Take the tokenizer of MODEL."),
    ]
    steps: Annotated[int | None, _training(metavar="N", show_default="by the text", help="Optimizer steps.")]
    epochs: Annotated[float | None, _training(metavar="N", help="Passes over TEXT; sets --steps.")]
    minutes: Annotated[float | None, _training(metavar="N", help="Train for N minutes at most.")]
    context: Annotated[
        int | None, _training(metavar="N", show_default="512 at most", help="Tokens in a window.")
    ]
    batch_tokens: Annotated[
        int | None, _training(metavar="N", show_default="512 to 8192", help="Tokens in a step, about.")
    ]
    learning_rate: Annotated[
        float | None,
        _training("--learning-rate", "--lr", metavar="X", help="Peak rate, before the cosine."),
    ]
    optimizer: Annotated[
        OptimizerName | None,
        _training(show_default="muon; adamw with --from", help="Muon for matrices, or AdamW."),
    ]
    dropout: Annotated[
        float | None,
        _training(metavar="X", show_default="0.1 from 8 passes on", help="Dropout, against overfitting."),
    ]
    eval_every: Annotated[
        int | None,
        _training(metavar="N", show_default="12 to 20 times", help="Evaluate and save every N steps."),
    ]
    patience: Annotated[
        int | None,
        _training(metavar="N", show_default="5; 3 with --from", help="End after N evaluations in vain."),
    ]
    seed: Annotated[int | None, _training("--seed", "-s", metavar="N", show_default="0", help="Random seed.")]
    freeze: Annotated[
        int | None, _tuning(metavar="N", help="Keep the embeddings and first N blocks unchanged.")
    ]
    lora: Annotated[
        int | None,
        _tuning(metavar="RANK", help="Train low-rank adapters; saved merged."),
    ]
    device: Device
    threads: Threads
    dtype: Annotated[
        Precision | None,
        _compute(show_default="bfloat16 where faster", help="Type of matrix products."),
    ]
    micro_batch: Annotated[
        int | None,
        _compute(metavar="N", show_default="by the memory", help="Windows in one pass."),
    ]
    compile: Annotated[bool, flag("--compile", rich_help_panel=COMPUTE, help="Slower start, faster steps.")]
