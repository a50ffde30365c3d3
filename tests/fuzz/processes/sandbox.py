"""A folder with models, texts and odd files, which commands read and write in."""

from __future__ import annotations

import json
import os
from pathlib import Path

# Names of files that a terminal must not obey.
ODD_NAMES = ("\x1b[5mred", "two\nlines", "\u202etxt.evil", "caf\udce9", "x" * 250, " ", "-n", "\x9b2J.txt")
# Tokens that a terminal must not obey.
TAKEOVERS = ("\x1b[2J\x1b[5m", "\x9b5m", "a\x08b", "\u202eabc", "\x07", "\x1b]0;title\x07", "\x7f")
MODELS = ("tiny", "odd", "tiny.gguf", "pickled", "damaged", "empty", "dir", "../up", "stories")
TEXTS = ("text.txt", "none.txt", "binary", "long.txt", "ids.txt", "pairs.tsv", "table.csv", "lines.jsonl")
OTHERS = (
    "dir",
    "dangling",
    "loop",
    "missing",
    ".",
    "..",
    "dir/missing",
    "tiny",
    "text.txt/x",
    "~nouser",
    "~",
)


def make_sandbox(folder: Path) -> None:
    """Fill a folder; nothing in it is read-only."""
    from fuzz.mutation import changed_json
    from fuzz.search import generator

    make_models(folder)
    odd = json.loads((folder / "odd" / "tokenizer.json").read_text())
    odd["added_tokens"] += [
        {"id": 299 - number, "content": content, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": number % 2 == 0}
        for number, content in enumerate(f"{text}{number}" for number in range(10) for text in TAKEOVERS)
    ]
    for token in odd["added_tokens"]:
        for name, number in list(odd["model"]["vocab"].items()):
            if number == token["id"] != 0:
                del odd["model"]["vocab"][name]
    odd["model"]["merges"] = [
        merge for merge in odd["model"]["merges"] if _is_made(merge, odd["model"]["vocab"])
    ]
    (folder / "odd" / "tokenizer.json").write_text(json.dumps(odd))
    (folder / "damaged" / "config.json").write_bytes(
        changed_json(generator("damaged", 0, 7), (folder / "tiny" / "config.json").read_bytes())
    )
    texts = {
        "text.txt": b"Once upon a time\nthere was a caf\xc3\xa9.\r\n\n",
        "none.txt": b"",
        "binary": bytes(range(256)),
        "long.txt": b"a" * 20_000,
        "ids.txt": b"1 2 3 299\n0 5\n",
        "pairs.tsv": b"1\ta\tThe [key] was\n1\tb\tThe [keys] was\n",
        "table.csv": b'id,text\n1,"a ""b"""\n2,c\n',
        "lines.jsonl": b'{"text": "a", "prompt": "b"}\n{"text": "c", "prompt": "d"}\n',
    }
    for name, content in texts.items():
        (folder / name).write_bytes(content)
    for name in ODD_NAMES:
        (folder / name).write_bytes(b"odd\n")
    for name in ("dir", "empty"):
        (folder / name).mkdir()
    (folder / "dangling").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")


def make_models(folder: Path) -> None:
    """Make the models of a sandbox, which takes PyTorch."""
    import torch
    from checkpoints import save_model_folder
    from gguf_files import write_gguf

    shape = {"vocab_size": 300, "n_positions": 16, "n_embd": 32, "n_layer": 1, "n_head": 2}
    for name in ("tiny", "odd", "damaged"):
        reference = save_model_folder(folder / name, **shape)
    write_gguf(folder / "tiny.gguf", reference, folder / "tiny" / "tokenizer.json", "Q4_0")
    save_model_folder(folder / "pickled", **shape)
    (folder / "pickled" / "model.safetensors").unlink()
    torch.save(reference.state_dict(), folder / "pickled" / "pytorch_model.bin")


def environment(folder: Path) -> dict[str, str]:
    """Return variables with which nothing outside the folder is used, and no network."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    return kept | {
        "HOME": str(folder / "home"),
        "HF_HOME": str(folder / "home" / "hf"),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TERM": "xterm",
        "COLUMNS": "80",
    }


def _is_made(merge: str | list[str], vocabulary: dict[str, int]) -> bool:
    parts = merge.split(" ") if isinstance(merge, str) else merge
    return all(part in vocabulary for part in (*parts, "".join(parts)))
