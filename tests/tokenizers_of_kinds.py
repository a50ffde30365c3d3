"""Tokenizers of each kind that the GPT family uses, trained on a little text, as transformers saves them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CORPUS = [
    "Once upon a time there was a fox, an old fox's den. Isn't it? 1 2 3 2024\n",
    "naïve café 👍, and the Quick brown fox.\n\n  Two  spaces\tand a tab\n",
] * 8
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SIZE = 420


def _train(library: Tokenizer, special: list[str], alphabet: list[str], **more: Any) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=special, initial_alphabet=alphabet, show_progress=False, **more
    )
    library.train_from_iterator(CORPUS, trainer)
    return library


def _byte_level(*before: Any, normalizer: Any = None, **last: bool) -> Tokenizer:
    library = Tokenizer(models.BPE())
    library.normalizer = normalizer
    byte_level = pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **last})
    library.pre_tokenizer = pre_tokenizers.Sequence([*before, byte_level])
    library.decoder = decoders.ByteLevel()
    return _train(library, ["<|endoftext|>"], sorted(pre_tokenizers.ByteLevel.alphabet()))


def smollm() -> Tokenizer:
    """Return byte-level BPE of individual digits."""
    return _byte_level(pre_tokenizers.Digits(individual_digits=True))


def llama3() -> Tokenizer:
    """Return byte-level BPE with a pattern of its own, which puts BOS before a text."""
    library = _byte_level(pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"), use_regex=False)
    template = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)])
    library.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return library


def qwen() -> Tokenizer:
    """Return byte-level BPE that composes characters, with an added token."""
    split = pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated")
    library = _byte_level(split, normalizer=normalizers.NFC(), use_regex=False)
    library.add_tokens([tokenizers.AddedToken("<think>", normalized=False)])
    return library


def _byte_fallback(library: Tokenizer) -> Tokenizer:
    """Return a copy with the model that converters make of SentencePiece's."""
    _train(library, ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))], [])
    description = json.loads(library.to_str())
    description["added_tokens"] = description["added_tokens"][:3]
    description["model"] |= {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    # Characters that only bytes can spell.
    vocabulary = description["model"]["vocab"]
    dropped = {token for token in vocabulary if "é" in token or "👍" in token}
    kept = [token for token in sorted(vocabulary, key=vocabulary.__getitem__) if token not in dropped]
    description["model"]["vocab"] = {token: number for number, token in enumerate(kept)}
    description["model"]["merges"] = [
        merge for merge in description["model"]["merges"] if not {*merge, "".join(merge)} & dropped
    ]
    library = Tokenizer.from_str(json.dumps(description))
    library.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return library


def _sentence_piece_decoder() -> decoders.Decoder:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return decoders.Sequence(steps)


def llama2() -> Tokenizer:
    """Return SentencePiece's BPE as the tokenizer.json of LLaMA 2, TinyLlama and Mistral has it."""
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    library = _byte_fallback(library)
    library.pre_tokenizer = pre_tokenizers.Sequence([])
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    library.decoder = _sentence_piece_decoder()
    return library


def metaspace() -> Tokenizer:
    """Return SentencePiece's BPE as newer converters write it."""
    library = Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    library = _byte_fallback(library)
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    library.decoder = _sentence_piece_decoder()
    return library


def gpt1() -> Tokenizer:
    """Return GPT-1's BPE as transformers saves it."""
    library = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    library.normalizer = normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.BPEDecoder("</w>")
    return _train(library, ["<unk>"], [], end_of_word_suffix="</w>")


def words() -> Tokenizer:
    """Return a vocabulary of whole words."""
    library = Tokenizer(models.WordLevel(unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.Whitespace()
    library.train_from_iterator(
        CORPUS, trainers.WordLevelTrainer(special_tokens=["<unk>", "<eos>"], show_progress=False)
    )
    return library


def characters() -> Tokenizer:
    """Return a vocabulary of characters, in which text has no token for the unknown."""
    vocabulary = {character: number for number, character in enumerate(sorted(set("".join(CORPUS))))}
    library = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    library.decoder = decoders.Fuse()
    return library


KINDS: dict[str, Callable[[], Tokenizer]] = {
    made.__name__: made for made in (smollm, llama3, qwen, llama2, metaspace, gpt1, words, characters)
}


def save_vocabulary(library: Tokenizer, folder: Path) -> None:
    """Save vocab.json and merges.txt, with the first line that transformers writes."""
    model = json.loads(library.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False), "utf-8")
    merges = "".join(" ".join(merge) + "\n" for merge in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}", "utf-8")


def in_transformers(library: Tokenizer) -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer as transformers uses it."""
    return transformers.PreTrainedTokenizerFast(tokenizer_object=library)
