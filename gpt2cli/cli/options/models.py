"""Options of the commands that manage models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gpt2cli.cli.options.shared import flag, model_names


def model_argument(text: str) -> Any:
    """Return an argument that takes model names."""
    return typer.Argument(metavar="MODEL", autocompletion=model_names, show_default=False, help=text)


Downloads = Annotated[
    list[str], model_argument("Known names (gpt2), aliases (355M) or OWNER/NAME[@REVISION].")
]
Name = Annotated[
    str, model_argument("A known name, OWNER/NAME[@REVISION], a folder, a .safetensors or .gguf file.")
]
Names = Annotated[
    list[str], model_argument("Known names, OWNER/NAME[@REVISION], folders, .safetensors or .gguf files.")
]
Removable = Annotated[list[str], model_argument("Known names or OWNER/NAME, as in `gpt2 models list`.")]
Force = Annotated[bool, flag("--force", help="Download the files even if they are here.")]
Yes = Annotated[bool, flag("--yes", "-y", help="Do not ask.")]
DryFetch = Annotated[bool, flag("--dry-run", help="Print the files and their sizes; download nothing.")]
DryRemoval = Annotated[bool, flag("--dry-run", help="Print what would be removed; remove nothing.")]
Exported = Annotated[
    Path,
    typer.Option(
        "--output", "-o", metavar="PATH", show_default=False, help="Write to FILE.gguf, or into this folder."
    ),
]
NumberType = Annotated[
    Literal["f32", "f16", "q8_0"] | None,
    typer.Option(
        "--type", metavar="TYPE", show_default="as stored", help="f32, f16 or, in GGUF files, q8_0."
    ),
]
Replace = Annotated[bool, flag("--force", help="Replace the file or the model in the folder.")]
