"""What a command must know of the model that is served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpt2cli.checkpoint.companions.generation_config import read_generation_config
from gpt2cli.errors import UsageError
from gpt2cli.model.loading import LoadedModel
from gpt2cli.serving.http.commands.route import Emit
from gpt2cli.serving.http.commands.typed import texts
from gpt2cli.serving.http.service import Service


async def describe(service: Service, fields: Mapping[str, Any], emit: Emit) -> None:
    """Tell which model is served, how it computes, and how its tokenizer reads texts."""
    name, own = fields.get("name"), service.loaded.files.name
    if name is not None and not service.serves(name):
        raise UsageError(
            f"The server serves {own!r}, not {name!r}.", "Leave out `model`, or unset GPT2_SERVER."
        )
    await emit(await service.read(_facts, service.reading))


async def find_unknown(service: Service, fields: Mapping[str, Any], emit: Emit) -> None:
    """Tell the first part of a text that the vocabulary can only call unknown."""
    (text,) = texts([fields.get("text")], "text")
    special = fields.get("special") is True
    await emit({"unknown": await service.read(service.reading.tokenizer.first_unknown, text, special)})


def _facts(loaded: LoadedModel) -> dict[str, Any]:
    files, ops, tokenizer = loaded.files, loaded.model.ops, loaded.tokenizer
    return {
        "name": files.name,
        "revision": files.revision,
        "backend": ops.name,
        "device": ops.device_name,
        "dtype": ops.dtype_name,
        "special_tokens": list(tokenizer.special_tokens),
        "spells_all": tokenizer.first_unknown("") is None and bool(tokenizer.spelling.byte_names),
        "generation_config": None if files.generation is None else str(files.generation),
        "generation_values": read_generation_config(files.generation),
        "load_seconds": loaded.seconds,
    }
