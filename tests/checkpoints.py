"""Random checkpoints, created by transformers in the official file layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel

from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.checkpoint.conversion import convert
from gpt2cli.checkpoint.weights import load_weights
from gpt2cli.hub.converted_files import conversion_place
from gpt2cli.hub.model_files import find_model
from gpt2cli.model.model import Model, load_model
from gpt2cli.ops.backend import open_backend
from gpt2cli.ops.operations import Storage, StoredTensor

# Small enough to be made in milliseconds, odd enough that a swapped axis cannot go unseen.
TINY = {"vocab_size": 131, "n_positions": 48, "n_embd": 24, "n_layer": 3, "n_head": 4}
# On tensors this small, threads only wait for one another.
torch.set_num_threads(1)
# Logits of a fresh model hardly differ; wider weights make every error visible.
WIDE = 0.3


def save_checkpoint(directory: Path, seed: int = 0, **config: Any) -> GPT2LMHeadModel:
    """Save a random GPT-2 of the given configuration (TINY where it is silent) and return it."""
    torch.manual_seed(seed)
    settings = {"initializer_range": WIDE, "bos_token_id": 0, "eos_token_id": 0, **TINY, **config}
    model = GPT2LMHeadModel(GPT2Config(**settings)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Fresh biases and norms are all zeros and ones, which would hide their loss.
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * (0.1 if "ln_" in name else WIDE))
    model.save_pretrained(directory)
    return model


def save_model_folder(directory: Path, vocab_size: int = 320, **config: Any) -> GPT2LMHeadModel:
    """Save a random GPT-2 with its tokenizer and return the model."""
    reference = save_checkpoint(directory, vocab_size=vocab_size, **config)
    save_tokenizer(directory, vocab_size)
    return reference


def load_checkpoint(directory: Path, backend: str = "numpy", device: str = "cpu") -> Model[Any]:
    """Load a checkpoint that `save_checkpoint` or transformers saved."""
    files = find_model(str(directory))
    assert files is not None
    return load_model(files, open_backend(device, backend, threads=1))


def convert_model(name: str, storage: Storage) -> Mapping[str, StoredTensor]:
    """Convert the matrices of a model on this machine, keep them, and return them."""
    files = find_model(name)
    assert files is not None
    config = ModelConfig.from_json(files.config)
    stored = load_weights(files.weights, config)
    conversion = convert(stored, conversion_place(files.weights), config, storage)
    assert not conversion.problem
    return conversion.weights


def save_tokenizer(directory: Path, vocab_size: int) -> None:
    """Save a byte-level BPE tokenizer.json of exactly vocab_size entries, <|endoftext|> as id 0."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=["<|endoftext|>"], initial_alphabet=sorted(alphabet)
    )
    library.train_from_iterator([Path(__file__).read_text()], trainer)
    assert library.get_vocab_size() == vocab_size
    library.save(str(directory / "tokenizer.json"))
