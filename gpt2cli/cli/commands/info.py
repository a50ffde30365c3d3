"""`gpt2 info`: what is installed, what computes here, and which models are here."""

from __future__ import annotations

from gpt2cli.cli.options import shared as options
from gpt2cli.cli.output.streams import json_line, write_stdout
from gpt2cli.cli.output.table import print_table

PACKAGES = ("numpy", "torch", "tokenizers", "safetensors", "huggingface_hub")


def info(json: options.Json = False, debug: options.Debug = False) -> None:
    """Show versions, devices and the models on this machine.

    `gpt2 info --json`
    """
    from gpt2cli.hub.listing import cache_facts
    from gpt2cli.ops.machine import compute_facts, versions

    facts = {**versions(PACKAGES), **compute_facts(), **cache_facts()}
    if json:
        write_stdout(json_line(facts))
        return
    lines = [(name, "none" if value is None else str(value)) for name, value in facts.items()]
    print_table(lines[0], lines[1:])
