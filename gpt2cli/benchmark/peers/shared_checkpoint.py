"""The model as a checkpoint folder that other engines can read."""

from __future__ import annotations

import json
from pathlib import Path

from gpt2cli.checkpoint.gguf.quantized import dequantized
from gpt2cli.checkpoint.saving import save_model
from gpt2cli.hub.checkpoint_files import CONFIG, WEIGHTS
from gpt2cli.hub.model_files import ModelFiles
from gpt2cli.text.stored.saving import tokenizer_files
from gpt2cli.text.tokenizer import Tokenizer


def share_checkpoint(files: ModelFiles, tokenizer: Tokenizer, folder: Path) -> None:
    """Create a folder with links to a model's files under their usual names, and with its tokenizer.

    Weights that are not in these files as they are computed with, such as those of a merged adapter or a GGUF
    file, are written.
    """
    folder.mkdir()
    notes: list[str] = []
    config, weights = files.read_checkpoint(notes.append)
    if files.adapter or files.unpacked or notes:
        arrays = {name: tensor.array for name, tensor in dequantized(weights).items()}
        save_model(folder, config, arrays, tokenizer_files(tokenizer, config))
        return
    (folder / CONFIG).symlink_to(files.config.resolve())
    for path in files.weights:
        shown = WEIGHTS[0] if len(files.weights) == 1 and path.suffix == ".safetensors" else path.name
        (folder / shown).symlink_to(path.resolve())
    if len(files.weights) > 1:
        for index in files.config.parent.glob("*.index.json"):
            (folder / index.name).symlink_to(index.resolve())
    (folder / "tokenizer.json").write_text(tokenizer.to_json(), "utf-8")
    kept: dict[str, str] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if tokenizer.eos_id is not None:
        end = tokenizer.token_bytes(tokenizer.eos_id).decode(errors="replace")
        kept |= dict.fromkeys(("bos_token", "eos_token", "unk_token"), end)
    (folder / "tokenizer_config.json").write_text(json.dumps(kept), "utf-8")
