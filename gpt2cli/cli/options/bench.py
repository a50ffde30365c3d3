"""The options of `gpt2 bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpt2cli.cli.options.shared import flag

WORK, QUALITY = "Work", "Quality"

PromptTokens = Annotated[
    int,
    typer.Option(
        "--prompt-tokens", min=1, metavar="N", rich_help_panel=WORK, help="Prefill a prompt of N tokens."
    ),
]
Tokens = Annotated[
    int,
    typer.Option("--tokens", "-n", min=1, metavar="N", rich_help_panel=WORK, help="Decode N tokens."),
]
Batch = Annotated[
    int,
    typer.Option("--batch", min=1, metavar="N", rich_help_panel=WORK, help="Decode N samples at once, too."),
]
Rounds = Annotated[
    int,
    typer.Option(
        "--rounds", min=1, metavar="N", rich_help_panel=WORK, help="Measure N times, and tell medians."
    ),
]
Only = Annotated[
    str | None,
    typer.Option(
        "--only",
        metavar="MEASURE,...",
        rich_help_panel=WORK,
        show_default="all",
        help="Measure only these of first_token, prefill, decode, batch, score, tokenize, peak_memory.",
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="ENGINE,...",
        rich_help_panel=WORK,
        show_default=False,
        help="Measure these too, taking turns, where they are installed: transformers, ctranslate2, "
        "ctranslate2-int8, llama.cpp, tiktoken.",
    ),
]
Gguf = Annotated[
    list[Path] | None,
    typer.Option(
        "--gguf",
        metavar="FILE",
        rich_help_panel=WORK,
        show_default="*.gguf in the model's folder",
        help="Have llama.cpp run this file; may be repeated. Its programs are looked for in the folder "
        "LLAMA_CPP_BIN, else on PATH.",
    ),
]
Quality = Annotated[
    bool,
    flag(
        "--quality",
        rich_help_panel=QUALITY,
        help="Instead of speed, measure perplexity and agreement with float32 on a held-out text.",
    ),
]
Text = Annotated[
    str | None,
    typer.Option(
        "--text",
        metavar="FILE",
        rich_help_panel=QUALITY,
        show_default="parts of five books",
        help="Use FILE for --quality; - is stdin.",
    ),
]
Json = Annotated[bool, flag("--json", help="Print one JSON object, with what the rounds range over.")]
Markdown = Annotated[bool, flag("--markdown", help="Print a table in Markdown.")]
