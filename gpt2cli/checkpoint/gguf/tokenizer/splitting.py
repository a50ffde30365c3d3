"""How tokenizers split a text before they merge bytes, by the names that GGUF files have for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
# The same as llama.cpp and as transformers have them.
CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
FOLDED_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3_REST = r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2_REST = LLAMA3_REST.replace("{1,3}", "")

Step = dict[str, Any]
BYTE_LEVEL: Step = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES_ONLY: Step = {**BYTE_LEVEL, "use_regex": False}
DIGITS: Step = {"type": "Digits", "individual_digits": True}


def _split(pattern: str) -> Step:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _sequence(*steps: Step) -> Step:
    return {"type": "Sequence", "pretokenizers": list(steps)}


@dataclass(frozen=True, eq=False, repr=False)
class Splitting:
    """A way to split text; GGUF files have any of its names, of which the first is written.

    `pre_tokenizer` is as in a tokenizer.json, where `others` mean the same.
    """

    names: tuple[str | None, ...]
    pre_tokenizer: Step
    others: tuple[Step, ...] = ()
    ignore_merges: bool = False
    adds_bos: bool = False

    def is_written_as(self, pre_tokenizer: Step) -> bool:
        """Return whether a tokenizer.json with this pre-tokenizer splits text in this way."""
        return any(_plain(step) == _plain(pre_tokenizer) for step in (self.pre_tokenizer, *self.others))


# As in src/llama-vocab.cpp of ggml-org/llama.cpp. Files from before the key was there have no name.
SPLITTINGS = (
    Splitting(
        ("gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat", "mellum", "exaone4", "trillion"), BYTE_LEVEL
    ),
    Splitting(
        ("default", None),
        _sequence(
            *map(_split, (r"[\p{P}\$\+<=>\^~\|]+", GPT2_WORDS, r"\p{N}+", "[0-9][0-9][0-9]")), BYTES_ONLY
        ),
    ),
    Splitting(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"),
        _sequence(DIGITS, BYTE_LEVEL),
    ),
    Splitting(
        ("llama-bpe", "llama3", "llama-v3"),
        _sequence(_split(CONTRACTIONS + LLAMA3_REST), BYTES_ONLY),
        (_sequence(_split(FOLDED_CONTRACTIONS + LLAMA3_REST), BYTES_ONLY),),
        ignore_merges=True,
        adds_bos=True,
    ),
    Splitting(
        ("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"),
        _sequence(_split(CONTRACTIONS + QWEN2_REST), BYTES_ONLY),
        (_sequence(_split(FOLDED_CONTRACTIONS + QWEN2_REST), BYTES_ONLY),),
    ),
)


def splitting_named(name: str | None) -> Splitting | None:
    """Return the splitting with a name, or None if it is not supported."""
    return next((splitting for splitting in SPLITTINGS if name in splitting.names), None)


def _plain(step: Step) -> Step:
    """Return a step without what does not change the ids."""
    plain = {key: value for key, value in step.items() if key != "trim_offsets"}
    if "pretokenizers" in plain:
        plain["pretokenizers"] = [_plain(inner) for inner in plain["pretokenizers"]]
    return plain
