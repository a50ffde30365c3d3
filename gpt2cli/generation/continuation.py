"""Continuing a prompt as several samples: text in, texts out, one batch at a time."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gpt2cli.checkpoint.companions.generation_config import read_generation_config
from gpt2cli.errors import UsageError
from gpt2cli.generation.completion import Batch, Completion
from gpt2cli.generation.engine import Engine
from gpt2cli.generation.prompt import fit_prompt
from gpt2cli.generation.requests import GenerationSettings, Request
from gpt2cli.generation.samples.pieces import sample_report
from gpt2cli.generation.sampling import Sampler, SequenceBias
from gpt2cli.generation.settings import CompletionSettings, PromptText
from gpt2cli.model.loading import LoadedModel
from gpt2cli.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from gpt2cli.generation.samples.best_of import BestOf
    from gpt2cli.generation.samples.generated_text import GeneratedText

# Short enough to retype.
CHOSEN_SEED_BYTES = 4


class Prompt(NamedTuple):
    """The ids of a prompt; `truncated` if they were cut to fit the context."""

    ids: Sequence[int]
    truncated: bool


class Continuation:
    """One or more continuations of a text, or of ids, which are read once; None starts from the BOS token.

    Raises:
        UsageError, InputError: as `encode_prompt` does.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: PromptText,
        settings: CompletionSettings,
        num_samples: int = 1,
        batch_size: int = 8,
        kv_memory: int | None = None,
    ) -> None:
        self.loaded = loaded
        self.settings = settings
        self.prompt = encode_prompt(loaded, prompt, settings)
        self.text = decode_prompt(loaded, prompt) if isinstance(prompt, tuple) else prompt
        self.seed = choose_seed() if settings.seed is None else settings.seed
        self._num_samples = num_samples
        self._batch_size = batch_size
        self._kv_memory = kv_memory
        self._end_ids = end_ids(loaded)
        self._sampler = open_sampler(loaded, settings, self.seed, self._end_ids)
        self._generation_settings = GenerationSettings(
            settings.max_tokens,
            self._end_ids,
            settings.overflow == "slide",
            0 if settings.logprobs is None and settings.best_of else settings.logprobs,
            settings.speculate,
        )
        # Returns the sampler of a sample for that of all.
        self.wrap_sampler: Callable[[Sampler], Sampler] | None = None
        self._engine: Engine[Any] | None = None
        self._first: Batch | None = None
        self._begun = False

    def request(self, sample: int) -> Request:
        """Return what makes a sample, for an engine."""
        drafts = None
        if self.settings.speculate:
            from gpt2cli.generation.speculation import Drafts

            drafts = Drafts()
        sampler = self.wrap_sampler(self._sampler) if self.wrap_sampler else self._sampler
        return Request(self.prompt.ids, sampler, self._generation_settings, sample, drafts)

    def completion(self) -> Completion:
        """Return the text of one sample, which is empty yet."""
        return Completion(self.loaded.tokenizer, self.settings, self.text or "")

    def open(self) -> Engine[Any]:
        """Return the engine that makes the samples.

        Raises:
            UsageError: a sample needs more than `kv_memory`.
        """
        if not self._engine:
            rows, context = min(self._batch_size, self._count), self.loaded.model.config.n_positions
            capacity = min(len(self.prompt.ids) + max(self.settings.max_tokens - 1, 0), context)
            self._engine = Engine(self.loaded.model, rows=rows, kv_memory=self._kv_memory, capacity=capacity)
        return self._engine

    def prefill(self) -> float:
        """Read the prompt if it has not been read yet, and return the seconds that took."""
        start = time.perf_counter()
        if not self._begun:
            self._begun = True
            self._first = self._batch(0)
            self._first.begin()
        return time.perf_counter() - start

    def report(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what makes every sample again, with the settings that were chosen."""
        return sample_report(self, settings)

    def record(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the report with all that makes the samples again on another machine.

        Raises:
            OSError: a file of the model cannot be read.
        """
        from gpt2cli.generation.samples.record import machine_facts

        facts = machine_facts(self.loaded)
        arithmetic = facts.pop("arithmetic")
        return {**self.report({**settings, **arithmetic}), "prompt_ids": list(self.prompt.ids), **facts}

    def batches(self) -> Iterator[Batch | BestOf[Completion]]:
        """Yield the batches of samples in order; iterate each batch before taking the next.

        With `best_of`, the likeliest samples of all batches are the only batch.
        """
        if self.settings.best_of:
            # Few runs need it.
            from gpt2cli.generation.samples.best_of import BestOf

            yield BestOf(self._drawn(), self._num_samples)
        else:
            yield from self._drawn()

    @property
    def _count(self) -> int:
        return self.settings.best_of or self._num_samples

    def sample(self, number: int) -> Completion:
        """Generate the one sample that has this number, from 0, and return it."""
        completion = self.completion()
        engine = Engine(self.loaded.model, rows=1)
        for _ in Batch(engine, [self.request(number)], {number: completion}):
            pass
        return completion

    def _drawn(self) -> Iterator[Batch]:
        self.prefill()
        for first in range(0, self._count, self._batch_size):
            batch, self._first = self._first or self._batch(first), None
            yield batch

    def _batch(self, first: int) -> Batch:
        samples = range(first, min(first + self._batch_size, self._count))
        completions = {sample: self.completion() for sample in samples}
        return Batch(self.open(), map(self.request, samples), completions)

    def results(self) -> list[GeneratedText]:
        """Generate all samples and return their texts."""
        found: list[GeneratedText] = []
        for batch in self.batches():
            for _ in batch:
                pass
            found += [self._result(*entry) for entry in batch.completions.items()]
        return found

    def _result(self, sample: int, completion: Completion) -> GeneratedText:
        from gpt2cli.generation.samples.generated_text import GeneratedText

        assert completion.finish_reason is not None
        table = completion.logprobs_table()
        return GeneratedText(
            text=completion.text,
            token_ids=tuple(token.id for token in completion.tokens),
            finish_reason=completion.finish_reason,
            seed=self.seed,
            sample=sample,
            prompt_tokens=len(self.prompt.ids),
            prompt_truncated=self.prompt.truncated,
            logprobs=None if self.settings.logprobs is None else table,
            prompt=self.text,
            mean_logprob=completion.mean_logprob,
        )


def open_sampler(
    loaded: LoadedModel,
    settings: CompletionSettings,
    seed: int,
    end_ids: Sequence[int],
    biases: Sequence[SequenceBias] = (),
) -> Sampler:
    """Return what draws tokens as the settings ask, with further biases.

    Raises:
        InputError: a text that is biased or banned is not Unicode.
    """
    found = (*_sequence_biases(settings, loaded.tokenizer, end_ids), *biases)
    return Sampler(settings, seed, found, min_tokens=settings.min_tokens, end_ids=end_ids)


def encode_prompt(loaded: LoadedModel, prompt: PromptText, settings: CompletionSettings) -> Prompt:
    """Return the ids of a prompt, truncated to the context if allowed; None gives the BOS token alone.

    Nothing is put before ids that are given.

    Raises:
        UsageError: the prompt does not fit the context, an id is not the model's, or a needed BOS token is
            missing.
        InputError: the text is not Unicode.
    """
    tokenizer, config = loaded.tokenizer, loaded.model.config
    leading: Sequence[int] = ()
    if isinstance(prompt, tuple):
        for token_id in prompt:
            if not 0 <= token_id < config.vocab_size:
                raise UsageError(f"`prompt` has the id {token_id}, but the last is {config.vocab_size - 1}.")
        ids: Sequence[int] = prompt
    else:
        if settings.bos or prompt is None:
            leading = _beginning(tokenizer)
        elif settings.bos is None:
            leading = tokenizer.leading_ids
        ids = [*leading, *(tokenizer.encode(prompt, settings.special) if prompt else ())]
    room = config.n_positions, settings.max_tokens
    return Prompt(*fit_prompt(ids, *room, settings.truncate, len(leading)))


def decode_prompt(loaded: LoadedModel, ids: Sequence[int]) -> str:
    """Return the text of ids, with replacement characters for what is not UTF-8."""
    return loaded.tokenizer.decode(ids).decode("utf-8", errors="replace")


def end_ids(loaded: LoadedModel) -> tuple[int, ...]:
    """Return the ids that end a text: those of generation_config.json or config.json, and the tokenizer's.

    Raises:
        CheckpointError: generation_config.json is damaged.
    """
    tokenizer, config = loaded.tokenizer, loaded.model.config
    told = tuple(read_generation_config(loaded.files.generation).get("eos_token_id", ()))
    # transformers copies the ids of config.json, which the tokenizer may have corrected.
    if not told or told == (config.eos_token_ids or (config.eos_token_id,)):
        return tokenizer.end_ids
    own = () if tokenizer.eos_id is None else (tokenizer.eos_id,)
    return tuple(dict.fromkeys((*own, *(token_id for token_id in told if token_id < config.vocab_size))))


def choose_seed() -> int:
    """Return a random seed."""
    return int.from_bytes(os.urandom(CHOSEN_SEED_BYTES), "little")


def _sequence_biases(
    settings: CompletionSettings, tokenizer: Tokenizer, end_ids: Sequence[int]
) -> tuple[SequenceBias, ...]:
    entries = [*settings.text_biases, *((text, -math.inf) for text in settings.ban)]
    found = [SequenceBias(tuple(tokenizer.encode(text, continues=True)), logits) for text, logits in entries]
    if settings.ignore_eos:
        found += [SequenceBias((token_id,), -math.inf) for token_id in end_ids]
    return tuple(found)


def _beginning(tokenizer: Tokenizer) -> list[int]:
    if tokenizer.bos_id is None:
        raise UsageError("This model has no beginning-of-text token.", "Give a prompt without `bos`.")
    return [tokenizer.bos_id]
