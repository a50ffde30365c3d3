"""The record of a sample run again, and where it came out differently."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from gpt2cli.errors import InputError, UsageError, shown
from gpt2cli.generation.completion import Completion
from gpt2cli.generation.continuation import Continuation
from gpt2cli.generation.settings import MAX_SEED, CompletionSettings, TextBias
from gpt2cli.hub.model_files import find_model
from gpt2cli.hub.model_source import model_source
from gpt2cli.model.loading import LoadedModel
from gpt2cli.ops.backend import choose_instruction_set
from gpt2cli.ops.compute import Compute
from gpt2cli.text.token_text import token_text
from gpt2cli.text.tokenizer import Tokenizer

# What was computed with, by its place in a record. Where it differs, so may the last bits of a sum.
COMPUTED_WITH = ("backend", "device", "dtype", "kernels", "threads")
DECIDED_TOGETHER = (("device", "backend"), ("dtype", "quantize"), ("threads",))
# What has a part in a sample whose number and seed are known.
DECIDING = sorted(
    {field.name for field in fields(CompletionSettings)} - {"seed", "best_of", "logprobs", "speculate"}
)
# What JSON has for them.
KINDS_OF_SETTINGS: Mapping[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("temperature", "top_p", "min_p", "repetition_penalty"), (int, float)),
    **dict.fromkeys(("presence_penalty", "frequency_penalty"), (int, float)),
    **dict.fromkeys(("max_tokens", "min_tokens", "top_k", "no_repeat_ngram"), int),
    **dict.fromkeys(("keep_stop", "ignore_eos", "special", "bos"), bool),
    **dict.fromkeys(("stop_at", "truncate", "overflow"), str),
    **dict.fromkeys(("stop", "ban", "bias"), list),
}
# A sum of the compiled kernels is the same on any number of threads.
WITHOUT_THREADS = "compiled"
KINDS: dict[str, type | tuple[type, ...]] = {
    "index": int,
    "text": str,
    "token_ids": list,
    "prompt": (str, type(None)),
    "seed": int,
    "model": str,
    "settings": dict,
}


@dataclass(frozen=True)
class SampleRecord:
    """What `Continuation.record` and a sample's own fields say; `place` is where it was read."""

    values: Mapping[str, Any]
    place: str

    @property
    def model(self) -> str:
        """The model's name, with the revision that was used if it is here or the model is not."""
        name, revision = self.values["model"], self.values.get("revision")
        if not isinstance(revision, str) or not model_source(name).repos:
            return str(name)
        exact = f"{name}@{revision}"
        return exact if find_model(exact) or not find_model(name) else str(name)

    def compute(self, chosen: Compute) -> Compute:
        """Return where and how the sample was computed, but for what was chosen otherwise."""
        told, unchosen = self.values["settings"], Compute()
        dtype = str(told.get("dtype") or "auto")
        then = Compute(
            str(told.get("device") or "auto"),
            str(told.get("backend") or "auto"),
            "auto" if dtype == "int8" else dtype,
            "int8" if dtype == "int8" else "none",
        )
        values: dict[str, Any] = {}
        for names in DECIDED_TOGETHER:
            is_chosen = any(getattr(chosen, name) != getattr(unchosen, name) for name in names)
            values |= {name: getattr(chosen if is_chosen else then, name) for name in names}
        return Compute(**values)

    def settings(self) -> CompletionSettings:
        """Return the settings of the sample.

        Raises:
            InputError: they are not those of a sample.
        """
        told = self.values["settings"]
        values = {name: told[name] for name in DECIDING if told.get(name) is not None}
        for name, value in values.items():
            if not _is_setting(name, value):
                raise self._damaged(f"{name} is {shown(value)}")
        values["bias"] = [self._bias(entry) for entry in values.get("bias", ())]
        try:
            return CompletionSettings(**values, seed=self.values["seed"])
        except UsageError as error:
            raise self._damaged(error.message.removesuffix(".")) from error

    def _bias(self, entry: str) -> TextBias:
        text, _, logits = entry.rpartition("=")
        try:
            return TextBias(text, float(logits))
        except ValueError as error:
            raise self._damaged(f"bias is {shown(entry)}") from error

    def _damaged(self, what: str) -> InputError:
        return InputError(f"{self.place}: the settings are damaged: {what}.", _hint())


@dataclass(frozen=True)
class Replay:
    """A sample run again.

    `tokens` are the same at its beginning. `token` is the first that differs, counted from 1, and `recorded`
    and `now` are its texts then and now, None at the end of a sample. `token` is None where all are the same,
    and `same` says that the text is, too. `changes` name what is not as it was.
    """

    index: int
    same: bool
    tokens: int
    token: int | None
    recorded: str | None
    now: str | None
    changes: Sequence[str]


def read_records(content: str, name: str) -> list[SampleRecord]:
    """Read the records of samples: one JSON value, an object or a list of them, or an object on each line.

    Raises:
        InputError: the content is anything else; the message says where.
    """
    return [_checked(value, place) for value, place in _values(content, name)]


def replay(loaded: LoadedModel, record: SampleRecord) -> Replay:
    """Run a record again, with the instruction set that was used if this processor has it.

    Raises:
        InputError: its settings are damaged.
        UsageError: its prompt does not fit the context.
        OSError: a file of the model cannot be read.
    """
    told = record.values["settings"].get("kernels")
    try:
        if loaded.model.ops.name == "compiled" and isinstance(told, str):
            choose_instruction_set(told)
        run = Continuation(loaded, record.values["prompt"], record.settings())
        return _compared(record, run, run.sample(record.values["index"] - 1))
    finally:
        choose_instruction_set(None)


def _values(content: str, name: str) -> Iterator[tuple[Any, str]]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        lines = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
        for number, line in lines:
            place = f"{name}, line {number}"
            try:
                yield json.loads(line), place
            except (ValueError, RecursionError):
                raise InputError(f"{place}: this is not JSON.", _hint()) from None
        if not lines:
            raise InputError(f"{name} is empty.", _hint()) from None
        return
    if not isinstance(value, list):
        yield value, name
        return
    yield from ((entry, f"{name}, entry {number}") for number, entry in enumerate(value, 1))


def _checked(value: Any, place: str) -> SampleRecord:
    if not isinstance(value, dict):
        raise InputError(f"{place}: this is no record of a sample.", _hint())
    for field, kind in KINDS.items():
        if field not in value or not isinstance(value[field], kind) or isinstance(value[field], bool):
            raise InputError(f"{place}: a record needs {field!r}.", _hint())
    is_sample = 1 <= value["index"] <= MAX_SEED
    if not is_sample or not all(type(token) is int for token in value["token_ids"]):
        raise InputError(f"{place}: the record is damaged.", _hint())
    return SampleRecord(value, place)


def _is_setting(name: str, value: Any) -> bool:
    kind = KINDS_OF_SETTINGS[name]
    # True is an int to Python.
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        return False
    if isinstance(value, list):
        return all(isinstance(entry, str) for entry in value)
    return not isinstance(value, int) or abs(value) <= MAX_SEED


def _hint() -> str:
    return "A record is what generate writes as JSON."


def _compared(record: SampleRecord, run: Continuation, sample: Completion) -> Replay:
    told, values = list(record.values["token_ids"]), record.values
    now = [token.id for token in sample.tokens]
    echoed = run.text if values["settings"].get("echo") and run.text else ""
    place = next((n for n, pair in enumerate(zip(told, now, strict=False)) if pair[0] != pair[1]), None)
    if place is None and len(told) != len(now):
        place = min(len(told), len(now))
    same_text = values["text"] == echoed + sample.text
    return Replay(
        values["index"],
        place is None and same_text,
        len(now) if place is None else place,
        None if place is None else place + 1,
        _text_at(run.loaded.tokenizer, told, place),
        _text_at(run.loaded.tokenizer, now, place),
        list(_changes(values, run.record({}))),
    )


def _text_at(tokenizer: Tokenizer, ids: Sequence[int], place: int | None) -> str | None:
    if place is None or place >= len(ids):
        return None
    token_id = ids[place]
    # Another model's vocabulary may be smaller.
    is_known = 0 <= token_id < tokenizer.id_limit
    return token_text(tokenizer.token_bytes(token_id)) if is_known else f"id {token_id}"


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs between a record and one made now; what a record does not have is passed over."""
    if then.get("prompt_ids") not in (None, now["prompt_ids"]):
        yield "the prompt has other tokens"
    for name, value in _different(then.get("hashes"), now["hashes"]):
        yield f"{name} has another content" if value else f"{name} is not there"
    if isinstance(then.get("hashes"), dict):
        yield from (f"{name} is new" for name in now["hashes"].keys() - then["hashes"].keys())
    for name, value in _different(then.get("versions"), now["versions"]):
        yield f"{name} was {then['versions'][name]}, now {value or 'unused'}"
    settings = now["settings"]
    for name, value in _different(then["settings"], settings):
        matters = name in COMPUTED_WITH and not (name == "threads" and settings["backend"] == WITHOUT_THREADS)
        if matters:
            yield f"{name} was {then['settings'][name]}, now {value}"


def _different(then: Any, now: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in then.items() if isinstance(then, dict) else ():
        if value != now.get(name):
            yield name, now.get(name)
