"""Prepare a run: read its texts, choose its model and settings, and refuse what cannot work."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from gpt2cli.checkpoint.companions.generation_config import GENERATION_CONFIG
from gpt2cli.checkpoint.config import ModelConfig, read_json_object
from gpt2cli.errors import UsageError
from gpt2cli.hub.model_facts import license_of
from gpt2cli.hub.model_files import fetch_model
from gpt2cli.hub.reporter import Reporter
from gpt2cli.ops.torch_extra import require_torch
from gpt2cli.text.reading.notes import TextNotes
from gpt2cli.training.data.sources import Sources
from gpt2cli.training.data.texts import TrainingTexts, learn_tokenizer
from gpt2cli.training.plan.request import Request, require_length
from gpt2cli.training.run.model_card import card_facts
from gpt2cli.training.run.run_folder import RunFolder
from gpt2cli.training.step.place import Place

if TYPE_CHECKING:
    from gpt2cli.hub.model_files import ModelFiles
    from gpt2cli.text.tokenizer import Tokenizer
    from gpt2cli.training.data.documents import Ids
    from gpt2cli.training.plan.settings import TrainingSettings
    from gpt2cli.training.run.beginning import Beginning

# How much the activations of one pass take by default. On a CPU, more is no faster.
CPU_PASS_BYTES = 200_000_000
GPU_PASS_SHARE = 0.3


def prepare(
    request: Request, folder: RunFolder, place: Place, offline: bool, reporter: Reporter, sources: Sources
) -> Beginning:
    """Return what a run begins with, and report the plan; nothing is written.

    Raises:
        UsageError, InputError: the texts or the request do not fit the model or the memory.
        HubError, CheckpointError: the parent cannot be fetched or read.
        Error: PyTorch is not installed.
    """
    require_torch("Training")
    kind = (request.document or "marker", request.field)
    texts = TrainingTexts(request.sources, *kind, sources)
    held_out = TrainingTexts([os.fspath(request.valid)], *kind, sources) if request.valid else None
    all_texts = [texts, held_out] if held_out else [texts]
    for note in (note for read in all_texts for note in read.notes):
        reporter.note(note)
    parent = _find_parent(request, folder, offline, reporter)
    with reporter.working("Reading the texts"):
        tokenizer, config = _choose_model(request, texts, parent, offline, reporter)
        special = bool(request.special)
        notes = TextNotes(reporter.note, tokenizer, special)
        for read in all_texts:
            read.check(notes)
        train, valid, documents = _encode(texts, held_out, tokenizer, config, special)
    ops = place.open()
    from gpt2cli.model.model import load_model
    from gpt2cli.training.run.beginning import Beginning
    from gpt2cli.training.step.trainer import initial_weights, suitable_precision

    settings = request.settings(config, train.size, suitable_precision(ops.device_name))
    require_length(train.size, valid.size, not held_out, settings.context, texts.names)
    settings, memory = _fit(request, config, settings, place, ops.device_name)
    if parent:
        model = load_model(parent, ops, reporter=reporter)
        # Only now is it known whether the head is tied.
        config, weights = model.config, model.weights
    else:
        weights = initial_weights(config, settings.seed)
    parameters = sum(weight.numel() for weight in weights.values())
    reporter.note(
        f"{documents:,} document{'s' * (documents != 1)}, {train.size + valid.size:,} tokens, "
        f"{valid.size:,} of them held out"
    )
    reporter.note(
        f"{parameters:,} parameters, a vocabulary of {config.vocab_size:,} tokens; {memory} of memory"
    )
    reporter.note(_plan_text(settings, train.size, ops.device_name))
    facts = card_facts(
        parent.name if parent else None,
        license_of(parent) if parent else None,
        texts.names,
        os.fspath(request.valid) if request.valid else None,
        {"documents": documents, "bytes": texts.text_bytes, "train": train.size, "held_out": valid.size},
    )
    options = {"request": request.kept(), "threads": place.threads, "card": facts}
    files = _companions(tokenizer, config, parent)
    return Beginning(config, weights, files, train, valid, settings, options)


def _find_parent(request: Request, folder: RunFolder, offline: bool, reporter: Reporter) -> ModelFiles | None:
    if request.parent is None:
        return None
    files = fetch_model(os.fspath(request.parent), offline=offline, reporter=reporter)
    if files.folder.resolve() == folder.path.resolve():
        raise UsageError("`parent` and `output` name the same folder.", "Name another with `output`.")
    return files


def _choose_model(
    request: Request, texts: TrainingTexts, parent: ModelFiles | None, offline: bool, reporter: Reporter
) -> tuple[Tokenizer, ModelConfig]:
    if parent:
        from gpt2cli.text.loading import load_tokenizer

        config = parent.read_config()
        tokenizer = load_tokenizer(parent, config)
        for note in tokenizer.notes:
            reporter.note(note)
        return tokenizer, _with_ids_of(tokenizer, config)
    if request.tokenizer:
        from gpt2cli.text.opening import open_tokenizer

        tokenizer = open_tokenizer(os.fspath(request.tokenizer), offline=offline, reporter=reporter)
    else:
        tokenizer = learn_tokenizer(texts, request.vocab, bool(request.special))
    return tokenizer, request.new_config(tokenizer, texts.text_bytes)


def _with_ids_of(tokenizer: Tokenizer, config: ModelConfig) -> ModelConfig:
    """Return a config whose special ids are those of the tokenizer, which it may contradict."""
    ends = tokenizer.end_ids
    pad = tokenizer.told.roles.get("pad_token")
    pad_id = tokenizer.find_id(pad.content) if pad else config.pad_token_id
    return replace(
        config,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        eos_token_ids=ends if len(ends) > 1 else (),
        pad_token_id=None if pad_id is None or pad_id >= config.vocab_size else pad_id,
    )


def _companions(tokenizer: Tokenizer, config: ModelConfig, parent: ModelFiles | None) -> dict[str, str]:
    """Return the texts of the files beside config.json: the tokenizer's, and the parent's for generation."""
    from gpt2cli.text.stored.saving import tokenizer_files

    files = tokenizer_files(tokenizer, config)
    if parent and parent.generation:
        values = read_json_object(parent.generation)
        before, now = ModelConfig.from_json(parent.config).to_dict(), config.to_dict()
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if name in values and values[name] == before[name]:
                values[name] = now[name]
        files[GENERATION_CONFIG] = json.dumps(values, indent=2) + "\n"
    return files


def _encode(
    texts: TrainingTexts,
    held_out: TrainingTexts | None,
    tokenizer: Tokenizer,
    config: ModelConfig,
    special: bool,
) -> tuple[Ids, Ids, int]:
    """Return the ids to train on, those held out, and the number of documents."""
    from gpt2cli.training.data.documents import count_documents, hold_out

    ids = texts.encode(tokenizer, config.vocab_size, special)
    documents = count_documents(ids, tokenizer.eos_id)
    if held_out is None:
        return *hold_out(ids, tokenizer.eos_id), documents
    valid = held_out.encode(tokenizer, config.vocab_size, special)
    return ids, valid, documents + count_documents(valid, tokenizer.eos_id)


def _fit(
    request: Request, config: ModelConfig, settings: TrainingSettings, place: Place, device: str
) -> tuple[TrainingSettings, str]:
    """Return settings whose passes fit the memory, and a report of the memory they take."""
    from gpt2cli.model.free_memory import available_memory
    from gpt2cli.training.plan.memory import require_memory, suitable_micro_batch
    from gpt2cli.training.step.trainer import available_gpu_memory

    if device.startswith("cuda"):
        available = available_gpu_memory(device)
        budget = int(GPU_PASS_SHARE * available)
    else:
        available = available_memory() // place.count
        budget = CPU_PASS_BYTES
    if request.micro_batch is None:
        settings = replace(settings, micro_batch=suitable_micro_batch(config, settings, budget))
    needed = require_memory(config, settings, available)
    return settings, f"about {needed / 1e9:,.1f} of {available / 1e9:,.1f} GB"


def _plan_text(settings: TrainingSettings, tokens: int, device: str) -> str:
    step_tokens = settings.batch_size * settings.context
    what = f"LoRA of rank {settings.lora}, " if settings.lora else ""
    return (
        f"{settings.steps:,} steps of {settings.batch_size} x {settings.context} tokens, "
        f"{settings.steps * step_tokens / tokens:,.1f} passes over the text; "
        f"{what}{settings.optimizer}, learning rate {settings.learning_rate:g}, "
        f"dropout {settings.dropout:g}, {settings.precision} on {device}"
    )
