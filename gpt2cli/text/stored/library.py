"""The library's tokenizer, read from the files that a checkpoint stores it in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import takewhile
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING

from gpt2cli.checkpoint.companions.tokenizer_config import FLAGS, AddedToken, TokenizerConfig
from gpt2cli.checkpoint.special_tokens import END_OF_TEXT
from gpt2cli.errors import CheckpointError
from gpt2cli.text.byte_pairs import BYTE_OF_SYMBOL, SYMBOL_OF_BYTE
from gpt2cli.text.stored.panics import panics_caught

if TYPE_CHECKING:
    import tokenizers

    from gpt2cli.hub.model_files import ModelFiles

BUNDLED_MERGES = Path(__file__).parents[2] / "data" / "gpt2" / "merges.txt"
TOKENIZER_JSON = "tokenizer.json"
GPT1_UNKNOWN, GPT1_WORD_END = "<unk>", "</w>"
ENDS = ("bos_token", "eos_token")
LONGEST_REASON = 200
# A letter, a digit, anything else and white space. White space begins runs of all others, so it comes last.
RUNS = "a1! "


def bundled_library() -> tokenizers.Tokenizer:
    """Return OpenAI's tokenizer of GPT-2."""
    from tokenizers import models

    # Built in bulk, because this takes most of the time of a short command.
    symbols = BUNDLED_MERGES.read_text("utf-8").partition("\n")[2].split()
    lefts, rights = symbols[::2], symbols[1::2]
    tokens = [*BYTE_OF_SYMBOL, *map(add, lefts, rights)]
    vocabulary = dict(zip(tokens, range(len(tokens)), strict=True))
    library = _byte_level(models.BPE(vocabulary, list(zip(lefts, rights, strict=True))))
    library.add_special_tokens([END_OF_TEXT])
    return library


def read_library(files: ModelFiles, told: TokenizerConfig, id_limit: int) -> tokenizers.Tokenizer:
    """Return the tokenizer in a model's files, with the tokens that the files beside the vocabulary add.

    A special token that has no id gets the next one, if that is below `id_limit`.

    Raises:
        CheckpointError: the files are missing or damaged.
    """
    paths = {path.name: path for path in files.tokenizer}
    if not paths.keys() >= {TOKENIZER_JSON} and not paths.keys() >= {"vocab.json", "merges.txt"}:
        raise CheckpointError(
            f"{files.name} has no tokenizer.", "It needs tokenizer.json, or vocab.json and merges.txt."
        )
    # Commands that use the bundled tokenizer start without these.
    from gpt2cli.text.stored.hazards import require_few, require_harmless

    try:
        with panics_caught():
            require_few(token.id for token in told.added)
            library = _opened(paths, told, id_limit)
            require_harmless(library)
            return library
    # The library raises nothing more specific.
    except Exception as error:
        where = next(iter(paths.values())).parent
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise CheckpointError(f"The tokenizer files in {where} cannot be read: {reason}.") from error


def _opened(paths: Mapping[str, Path], told: TokenizerConfig, id_limit: int) -> tokenizers.Tokenizer:
    if TOKENIZER_JSON in paths:
        return _with_tokens(_from_json(paths[TOKENIZER_JSON], told), told, id_limit)
    library = _from_vocabulary(paths["vocab.json"], paths["merges.txt"], told)
    return _with_ends(_with_tokens(library, told, id_limit), told)


def _from_json(path: Path, told: TokenizerConfig) -> tokenizers.Tokenizer:
    import tokenizers

    from gpt2cli.text.stored.hazards import require_sound, without_dropout

    description = path.read_bytes()
    require_sound(description)
    library = without_dropout(tokenizers.Tokenizer.from_buffer(description))
    # It may ask to truncate or pad every text, which is meant for training in batches.
    library.no_truncation()
    library.no_padding()
    splitter = library.pre_tokenizer
    if told.prefix_space is not None and isinstance(splitter, tokenizers.pre_tokenizers.ByteLevel):
        splitter.add_prefix_space = told.prefix_space
    return library


def _from_vocabulary(vocabulary: Path, merges: Path, told: TokenizerConfig) -> tokenizers.Tokenizer:
    from tokenizers import models

    from gpt2cli.text.stored.hazards import require_sound

    require_sound(vocabulary.read_bytes())
    model = models.BPE.from_file(str(vocabulary), str(merges))
    library = _byte_level(model, bool(told.values.get("add_prefix_space")))
    has_bytes = all(library.token_to_id(symbol) is not None for symbol in BYTE_OF_SYMBOL)
    if not has_bytes and any(token.endswith(GPT1_WORD_END) for token in library.get_vocab()):
        return _gpt1(vocabulary, merges)
    if library.token_to_id(END_OF_TEXT) is not None:
        library.add_special_tokens([END_OF_TEXT])
    return library


def _with_tokens(library: tokenizers.Tokenizer, told: TokenizerConfig, id_limit: int) -> tokenizers.Tokenizer:
    missing = [token for token in told.added if library.token_to_id(token.content) is None]
    if missing:
        first = library.get_vocab_size()
        if [token.id for token in missing] != list(range(first, first + len(missing))):
            library = _with_ids(library, missing)
    known = {token.content: token for token in library.get_added_tokens_decoder().values()}
    changed = {}
    room = id_limit - library.get_vocab_size() - len(missing)
    for token in told.tokens:
        made = known.get(token.content) or _library_token(token)
        if token.content not in known and token.id is None and library.token_to_id(token.content) is None:
            if room <= 0:
                continue
            room -= 1
        if token.content not in known or (token.special and not made.special):
            made.special |= token.special
            known[token.content] = changed[token.content] = made
    library.add_tokens(list(changed.values()))
    return library


def _with_ends(library: tokenizers.Tokenizer, told: TokenizerConfig) -> tokenizers.Tokenizer:
    """Have the library put BOS and EOS around a text where the tokenizer's settings ask for them."""
    from tokenizers.processors import TemplateProcessing

    names = {role: told.roles[role].content if role in told.roles else END_OF_TEXT for role in ENDS}
    ids = {name: library.token_to_id(name) for role, name in names.items() if told.adds(role)}
    ids = {name: token_id for name, token_id in ids.items() if token_id is not None}
    bos, eos = (f"{names[role]}:0" if told.adds(role) and names[role] in ids else "" for role in ENDS)
    if ids:
        library.post_processor = TemplateProcessing(
            single=f"{bos} $A:0 {eos}".strip(), special_tokens=list(ids.items())
        )
    return library


def _with_ids(library: tokenizers.Tokenizer, tokens: Iterable[AddedToken]) -> tokenizers.Tokenizer:
    """Return a copy in which tokens have their ids, where these are free; the library has them follow."""
    description = json.loads(library.to_str())
    vocabulary = description["model"]["vocab"]
    taken = {*vocabulary.values(), *(token["id"] for token in description["added_tokens"])}
    vocabulary |= {token.content: token.id for token in tokens if token.id not in taken}
    return type(library).from_str(json.dumps(description))


def _library_token(token: AddedToken) -> tokenizers.AddedToken:
    import tokenizers

    return tokenizers.AddedToken(token.content, **{name: getattr(token, name) for name in FLAGS})


def _gpt1(vocabulary: Path, merges: Path) -> tokenizers.Tokenizer:
    """Return a tokenizer of lower-case words whose last tokens end in `</w>`."""
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    library = tokenizers.Tokenizer(
        models.BPE.from_file(
            str(vocabulary), str(merges), unk_token=GPT1_UNKNOWN, end_of_word_suffix=GPT1_WORD_END
        )
    )
    library.normalizer = normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.BPEDecoder(GPT1_WORD_END)
    library.add_special_tokens([GPT1_UNKNOWN])
    return library


def _byte_level(model: tokenizers.models.BPE, prefix_space: bool = False) -> tokenizers.Tokenizer:
    import tokenizers

    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    return library


def is_cuttable(library: tokenizers.Tokenizer) -> bool:
    """Return whether a text has the ids of its parts when it is cut between a non-space and a space."""
    from tokenizers import pre_tokenizers

    splitter = library.pre_tokenizer
    return (
        library.normalizer is None
        and isinstance(splitter, pre_tokenizers.ByteLevel)
        and splitter.use_regex
        and not splitter.add_prefix_space
        and not any(
            token.rstrip or re.search(r"\s", token.content)
            for token in library.get_added_tokens_decoder().values()
        )
    )


def has_long_runs(library: tokenizers.Tokenizer) -> bool:
    """Return whether pretokens are read by merging alone, and added tokens split text wherever they stand."""
    model = library.model
    return not (model.continuing_subword_prefix or model.end_of_word_suffix) and not any(
        token.lstrip or token.single_word for token in library.get_added_tokens_decoder().values()
    )


def pretoken_places(library: tokenizers.Tokenizer, text: str) -> list[tuple[int, int]]:
    """Return where the pretokens of a text stand, in characters: the start and the end."""
    return [place for _, place in library.pre_tokenizer.pre_tokenize_str(text)]


def joins(library: tokenizers.Tokenizer, character: str) -> str:
    """Return what a character continues: a run of letters, of digits, of white space, or of anything else."""
    return next(kind for kind in RUNS if len(pretoken_places(library, kind + character)) == 1)


def pretoken_ids(library: tokenizers.Tokenizer, data: bytes) -> list[int]:
    """Return the ids of bytes, which may be a part of a character, as one pretoken."""
    symbols = data.decode("latin-1").translate(SYMBOL_OF_BYTE)
    return [token.id for token in library.model.tokenize(symbols)]


def with_decoder(library: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Return a copy of a tokenizer of bytes that decodes ids too."""
    import tokenizers

    try:
        copy = tokenizers.Tokenizer.from_str(library.to_str())
    # The library raises nothing more specific: two tokens have the same id, and it writes one of them.
    except Exception as error:
        raise CheckpointError(f"The model's tokenizer cannot be written: {error}.") from error
    copy.decoder = copy.decoder or tokenizers.decoders.ByteLevel()
    return copy


def leading_ids(library: tokenizers.Tokenizer) -> list[int]:
    """Return the ids of the special tokens that the library puts before a text."""
    # A vocabulary may lack any text.
    for text in ("a", *library.get_vocab(with_added_tokens=False)):
        try:
            made = library.encode(text)
        # The library raises nothing more specific.
        except Exception:
            continue
        pairs = list(zip(made.ids, made.special_tokens_mask, strict=True))
        if not all(is_special for _, is_special in pairs):
            return [token_id for token_id, _ in takewhile(lambda pair: pair[1], pairs)]
    return []
