"""What a model's file must look like, whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path

from gpt2cli.errors import CheckpointError
from gpt2cli.hub.checkpoint_files import GGUF


def malformation(path: Path) -> str:
    """Return what is wrong with the form of a file, or nothing; its suffix tells the form."""
    from gpt2cli.checkpoint.formats.safetensors import read_safetensors

    try:
        if path.suffix == ".safetensors":
            read_safetensors(path)
        elif path.suffix == GGUF:
            from gpt2cli.checkpoint.gguf.contents import read_contents

            read_contents(path)
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
    except CheckpointError as error:
        return error.message.rstrip(".")
    except (ValueError, RecursionError):
        return "it is not valid JSON"
    return ""
