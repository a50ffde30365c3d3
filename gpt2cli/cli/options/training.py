"""The options of `gpt2 train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gpt2cli.cli.options.shared import COMPUTE, flag, model_names

TEXT, SHAPE, STEPS = "Text", "Model", "Training"
MAX_SEED = 2**63 - 1

Texts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TEXT",
        show_default=False,
        help="Text files, .jsonl files, or token files (.npy, .u16, .u32) of `gpt2 tokenize`; "
        "- or none is stdin.",
    ),
]
Folder = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="DIR", show_default=False, help="Keep the model and the run in DIR."
    ),
]
Resume = Annotated[bool, flag("--resume", help="Go on with the run in DIR, exactly as it was.")]
Force = Annotated[bool, flag("--force", help="Replace the run that is in DIR.")]
Document = Annotated[
    Literal["marker", "file"] | None,
    typer.Option(
        "--document",
        show_default="marker",
        rich_help_panel=TEXT,
        help="Lines of <|endoftext|> separate the documents of a file, or each file is one.",
    ),
]
Field = Annotated[
    str | None,
    typer.Option(
        "--field",
        metavar="NAME",
        show_default="text",
        rich_help_panel=TEXT,
        help="Take this field of each JSON object; given, it makes every TEXT one of JSON lines.",
    ),
]
Valid = Annotated[
    str | None,
    typer.Option(
        "--valid",
        metavar="FILE",
        show_default="the end of TEXT",
        rich_help_panel=TEXT,
        help="Evaluate on FILE, of the same kinds as TEXT.",
    ),
]
Parent = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="MODEL",
        autocompletion=model_names,
        show_default="a new model",
        rich_help_panel=SHAPE,
        help="Fine-tune this model, named as in `gpt2 generate`.",
    ),
]
Size = Annotated[
    Literal["1M", "5M", "25M", "124M", "355M"] | None,
    typer.Option(
        "--size", show_default="by the text", rich_help_panel=SHAPE, help="Give a new model this shape."
    ),
]
Layers = Annotated[
    int | None, typer.Option("--layers", min=1, metavar="N", rich_help_panel=SHAPE, help="Use N blocks.")
]
Heads = Annotated[
    int | None,
    typer.Option("--heads", min=1, metavar="N", rich_help_panel=SHAPE, help="Use N attention heads a block."),
]
Width = Annotated[
    int | None,
    typer.Option("--width", min=1, metavar="N", rich_help_panel=SHAPE, help="Use vectors of N numbers."),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        min=1,
        metavar="N",
        show_default="512 at most",
        rich_help_panel=SHAPE,
        help="Train on windows of N tokens.",
    ),
]
Vocab = Annotated[
    int | None,
    typer.Option(
        "--vocab",
        min=257,
        metavar="N",
        show_default="by the text",
        rich_help_panel=SHAPE,
        help="Train a tokenizer of N tokens.",
    ),
]
TokenizerOf = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="MODEL",
        autocompletion=model_names,
        rich_help_panel=SHAPE,
        help="Use this model's tokenizer for a new model. Token files need the one that made them; "
        "their default is GPT-2's.",
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps",
        min=1,
        metavar="N",
        show_default="by the text",
        rich_help_panel=STEPS,
        help="Take N optimizer steps.",
    ),
]
BatchTokens = Annotated[
    int | None,
    typer.Option(
        "--batch-tokens",
        min=1,
        metavar="N",
        show_default="2048 to 8192, by the text",
        rich_help_panel=STEPS,
        help="Learn from about N tokens a step.",
    ),
]
MicroBatch = Annotated[
    int | None,
    typer.Option(
        "--micro-batch",
        min=1,
        metavar="N",
        show_default="by the memory",
        rich_help_panel=STEPS,
        help="Send N windows at once through the model; gradients add up to the same step.",
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate",
        "--lr",
        metavar="X",
        show_default="by the optimizer",
        rich_help_panel=STEPS,
        help="Rise to this rate, then fall along a cosine.",
    ),
]
Optimizer = Annotated[
    Literal["muon", "adamw"] | None,
    typer.Option(
        "--optimizer",
        show_default="muon; adamw with --from",
        rich_help_panel=STEPS,
        help="Update by AdamW, or the matrices by Muon.",
    ),
]
Dropout = Annotated[
    float | None,
    typer.Option(
        "--dropout",
        min=0.0,
        max=0.99,
        metavar="X",
        show_default="0.1 where a text is seen often",
        rich_help_panel=STEPS,
        help="Leave out this part of the activations, against learning by heart.",
    ),
]
Freeze = Annotated[
    int | None,
    typer.Option(
        "--freeze",
        min=1,
        metavar="N",
        show_default="none",
        rich_help_panel=STEPS,
        help="Keep the embeddings and the first N blocks as they are.",
    ),
]
Lora = Annotated[
    int | None,
    typer.Option(
        "--lora",
        min=1,
        metavar="RANK",
        show_default="off",
        rich_help_panel=STEPS,
        help="Train small adapters of this rank, which takes less memory; they are merged when saved.",
    ),
]
EvalEvery = Annotated[
    int | None,
    typer.Option(
        "--eval-every",
        min=1,
        metavar="N",
        show_default="20 times in all",
        rich_help_panel=STEPS,
        help="Evaluate and save after every N steps.",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        min=0,
        metavar="N",
        show_default="5",
        rich_help_panel=STEPS,
        help="End after N evaluations without a better one; 0 never does.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        "-s",
        min=0,
        max=MAX_SEED,
        metavar="N",
        show_default="0",
        rich_help_panel=STEPS,
        help="Begin and draw by this seed.",
    ),
]
Dtype = Annotated[
    Literal["float32", "bfloat16"] | None,
    typer.Option(
        "--dtype",
        show_default="bfloat16 where it is faster",
        rich_help_panel=COMPUTE,
        help="Multiply matrices in this type; the weights are float32.",
    ),
]
Compile = Annotated[
    bool,
    flag("--compile", rich_help_panel=COMPUTE, help="Compile the model first: it takes a minute, then less."),
]
