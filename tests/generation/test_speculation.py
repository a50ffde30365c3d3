"""Speculation, against the same generation without it: equal tokens, fewer passes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from backends import needs_kernels
from checkpoints import load_checkpoint, save_model_folder
from conftest import Gpt2
from engines import Samples, SampleToken
from hypothesis import given
from hypothesis import strategies as st
from samplers import SamplerSettings

from gpt2cli.generation.requests import GenerationSettings
from gpt2cli.generation.sampling import SequenceBias
from gpt2cli.generation.speculation import LONGEST_DRAFT, SHORTEST_MATCH, Drafts, PromptLookup
from gpt2cli.model.model import Model

pytestmark = pytest.mark.slow

CONTEXT = 96
PROMPT = [5, 17, 99, 3]
# A prompt that repeats itself, so that drafts are made from the first token on.
CHORUS = [7, 8, 9, 10, 11] * 4
# Few ids, so that runs of them come back.
NEAR = tuple(SequenceBias((token,), 40.0) for token in (21, 22, 23))
SEVENS = SamplerSettings(temperature=0.0, biases=(SequenceBias((7,), 1e4),))
SAMPLINGS = {
    "greedy": SamplerSettings(temperature=0.0),
    "default": SamplerSettings(),
    "cold": SamplerSettings(temperature=0.3),
    "near": SamplerSettings(temperature=1.0, top_k=3, top_p=1.0, biases=NEAR),
    "repetition penalty": SamplerSettings(temperature=0.5, repetition_penalty=1.2, biases=NEAR),
    "presence": SamplerSettings(temperature=0.5, presence_penalty=0.7, frequency_penalty=0.3, biases=NEAR),
    "ngrams": SamplerSettings(temperature=0.5, no_repeat_ngram=5, biases=NEAR),
    "ban": SamplerSettings(temperature=0.5, biases=(*NEAR, SequenceBias((21, 22, 23), -math.inf))),
    "min_p": SamplerSettings(temperature=0.7, min_p=0.2, biases=NEAR),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speculation")
    save_model_folder(folder, n_positions=CONTEXT, vocab_size=300)
    return folder


@pytest.fixture(scope="module", params=["numpy", "torch", pytest.param("compiled", marks=needs_kernels)])
def model(checkpoint: Path, request: pytest.FixtureRequest) -> Model[Any]:
    return load_checkpoint(checkpoint, request.param)


def generation(
    model: Model[Any],
    sampling: SamplerSettings = SAMPLINGS["greedy"],
    prompt: Sequence[int] = PROMPT,
    seed: int = 0,
    samples: Sequence[int] = (0,),
    **settings: Any,
) -> Samples:
    chosen = GenerationSettings(**{"max_tokens": 60, "speculate": True, **settings})
    return Samples(model, prompt, sampling.sampler(seed), chosen, samples)


def chosen_ids(made: Samples) -> list[tuple[int, int]]:
    return [(token.sample, token.id) for token in made]


def assert_same(model: Model[Any], *arguments: Any, **settings: Any) -> Drafts:
    """Assert that sample 0 is the same with and without speculation; return what was drafted."""
    plain = generation(model, *arguments, **settings, speculate=False)
    ahead = generation(model, *arguments, **settings)
    assert chosen_ids(ahead) == chosen_ids(plain)
    assert ahead.finish_reasons == plain.finish_reasons
    return ahead.drafts[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLINGS)
def test_the_tokens_are_those_without_speculation(model: Model[Any], name: str) -> None:
    drafts = [
        assert_same(model, SAMPLINGS[name], prompt, seed) for prompt in (PROMPT, CHORUS) for seed in range(2)
    ]
    accepted = sum(entry.accepted for entry in drafts)
    assert 0 < accepted < sum(entry.proposed for entry in drafts)


@pytest.mark.slow
@pytest.mark.parametrize("slide", [False, True])
@pytest.mark.parametrize("name", ["greedy", "near", "cold"])
def test_the_end_of_the_context_is_met_as_without_speculation(
    model: Model[Any], name: str, slide: bool
) -> None:
    for length in (1, 2, 3, 5, 8, 11):
        prompt = (CHORUS * 5)[: CONTEXT - length]
        # Enough to slide twice.
        assert_same(model, SAMPLINGS[name], prompt, max_tokens=CONTEXT // 2 + 20, slide=slide)


@pytest.mark.parametrize("max_tokens", range(1, 12))
def test_no_pass_reads_what_no_token_needs(
    model: Model[Any], passes: list[tuple[int, int]], max_tokens: int
) -> None:
    made = generation(model, SEVENS, [7] * 6, max_tokens=max_tokens)
    assert chosen_ids(made) == [(0, 7)] * max_tokens
    # The prompt, then every token but the last, once each.
    assert sum(time for _, time in passes) == 6 + max_tokens - 1
    assert made.drafts[0].accepted == made.drafts[0].proposed


@pytest.mark.parametrize("max_tokens", range(5, 25))
def test_no_pass_after_a_slide_reads_what_no_token_needs(
    model: Model[Any], passes: list[tuple[int, int]], max_tokens: int
) -> None:
    prompt = [7] * (CONTEXT - 3)
    made = generation(model, SEVENS, prompt, max_tokens=max_tokens, slide=True)
    assert len(chosen_ids(made)) == max_tokens
    # The context is full with the third token; the fifth follows from a reading of the newest half.
    assert sum(time for _, time in passes) == CONTEXT + CONTEXT // 2 + max_tokens - 5
    assert made.drafts[0].accepted == made.drafts[0].proposed > 0


def test_repetitive_text_takes_far_fewer_passes_than_tokens(
    model: Model[Any], passes: list[tuple[int, int]]
) -> None:
    made = generation(model, SEVENS, [7] * 6)
    assert len(chosen_ids(made)) == 60
    decoding = passes[1:]
    assert len(decoding) == made.drafts[0].passes < 60 / 7
    assert max(time for _, time in decoding) == 1 + LONGEST_DRAFT


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLINGS)
def test_there_are_never_more_passes_than_without_speculation(
    model: Model[Any], passes: list[tuple[int, int]], name: str
) -> None:
    for seed in range(4):
        passes.clear()
        tokens = chosen_ids(generation(model, SAMPLINGS[name], CHORUS, seed))
        # The first token is the prompt's, the last one is not read.
        assert len(passes) <= len(tokens)


def test_text_without_repeats_is_read_token_by_token(
    model: Model[Any], passes: list[tuple[int, int]]
) -> None:
    sampling = SamplerSettings(temperature=1.0, top_k=0, top_p=1.0, no_repeat_ngram=SHORTEST_MATCH)
    made = generation(model, sampling, max_tokens=40)
    assert len(chosen_ids(made)) == 40
    assert passes == [(1, len(PROMPT))] + [(1, 1)] * 39
    assert made.drafts[0] == Drafts(39, 0, 0)


def test_the_end_token_ends_the_text_within_a_draft(model: Model[Any]) -> None:
    sampling = SAMPLINGS["near"]
    plain = [token for _, token in chosen_ids(generation(model, sampling, CHORUS, 3, speculate=False))]
    for end in set(plain):
        made = generation(model, sampling, CHORUS, 3, end_ids=[end])
        assert [token for _, token in chosen_ids(made)] == plain[: plain.index(end)]
        assert made.finish_reasons == {0: "stop"}


@pytest.mark.parametrize("count", range(1, 20))
def test_a_sample_can_be_stopped_within_a_draft(model: Model[Any], count: int) -> None:
    made = generation(model, SAMPLINGS["greedy"], CHORUS)
    seen = []
    for token in made:
        seen.append((0, token.id))
        if len(seen) == count:
            made.stop(0)
    assert seen == chosen_ids(generation(model, SAMPLINGS["greedy"], CHORUS, speculate=False))[:count]
    assert made.finish_reasons == {0: "stop"}


def test_logprobs_are_those_without_speculation(model: Model[Any]) -> None:
    ahead: list[SampleToken] = list(generation(model, prompt=CHORUS, logprobs=3))
    plain: list[SampleToken] = list(generation(model, prompt=CHORUS, logprobs=3, speculate=False))
    for token, expected in zip(ahead, plain, strict=True):
        assert token.id == expected.id
        assert token.logprob == pytest.approx(expected.logprob, abs=1e-4)
        assert [other for other, _ in token.top] == [other for other, _ in expected.top]


def test_every_row_of_a_batch_has_drafts_of_its_own(model: Model[Any], passes: list[tuple[int, int]]) -> None:
    def stopped(speculate: bool) -> tuple[dict[int, list[int]], Samples]:
        made = generation(model, SAMPLINGS["near"], CHORUS, samples=range(3), speculate=speculate)
        seen: dict[int, list[int]] = {sample: [] for sample in range(3)}
        for token in made:
            seen[token.sample].append(token.id)
            if token.sample != 1 and len(seen[token.sample]) == 10 * (1 + token.sample):
                made.stop(token.sample)
        return seen, made

    expected, plain = stopped(speculate=False)
    assert [len(ids) for ids in expected.values()] == [10, 60, 30]
    passes.clear()
    seen, made = stopped(speculate=True)
    assert seen == expected
    # The first ends too soon to repeat itself.
    assert [drafts.accepted > 0 for drafts in made.drafts.values()] == [False, True, True]
    # The prompt, and what each row reads for itself.
    assert len(passes) <= 1 + sum(drafts.passes for drafts in made.drafts.values())
    assert made.finish_reasons == {0: "stop", 1: "length", 2: "stop"}
    assert list(plain.drafts.values()) == [Drafts()] * 3


ids_of_few_kinds = st.lists(st.integers(0, 2), min_size=1, max_size=60)


def drafted(ids: Sequence[int], most: int) -> list[int]:
    """Return the draft by its definition: the latest earlier occurrence, its length, what follows it."""
    for start in range(len(ids) - 1, SHORTEST_MATCH - 1, -1):
        if ids[start - SHORTEST_MATCH : start] == ids[-SHORTEST_MATCH:]:
            lengths = [n for n in range(1, start + 1) if ids[start - n : start] == ids[len(ids) - n :]]
            longer = list(ids)
            for offset in range(min(max(lengths), LONGEST_DRAFT, most)):
                longer.append(longer[start + offset])
            return longer[len(ids) :]
    return []


@given(ids_of_few_kinds, st.integers(0, 20), st.sets(st.integers(1, 60)))
def test_a_draft_is_what_followed_the_latest_occurrence(ids: list[int], most: int, earlier: set[int]) -> None:
    lookup = PromptLookup()
    for length in sorted(length for length in earlier if length < len(ids)):
        lookup.propose(ids[:length], most)
    assert lookup.propose(ids, most) == drafted(ids, most)


def test_each_id_is_looked_at_once() -> None:
    class Watched(list[int]):
        looks = 0

        def __getitem__(self, place: Any) -> Any:
            self.looks += 1
            return super().__getitem__(place)

    lookup = PromptLookup()
    ids = Watched(range(1000))
    lookup.propose(ids, LONGEST_DRAFT)
    assert ids.looks >= 900
    ids.append(5)
    ids.looks = 0
    lookup.propose(ids, LONGEST_DRAFT)
    assert ids.looks < 10


def run(gpt2: Gpt2, checkpoint: Path, *arguments: str) -> Any:
    return gpt2("generate", "-m", checkpoint, "--seed", "1", "-n", "40", "abcabcabcabc", *arguments)


@pytest.mark.parametrize("sampling", [[], ["--temperature", "0"]])
def test_the_command_prints_the_same_text(gpt2: Gpt2, checkpoint: Path, sampling: list[str]) -> None:
    plain = run(gpt2, checkpoint, *sampling)
    ahead = run(gpt2, checkpoint, *sampling, "--speculate")
    assert (plain.returncode, ahead.returncode, ahead.stderr) == (0, 0, b"")
    assert ahead.stdout == plain.stdout


def test_the_command_stops_before_a_stop_string(gpt2: Gpt2, checkpoint: Path) -> None:
    greedy = ("--temperature", "0")
    whole = run(gpt2, checkpoint, *greedy).stdout.decode()
    stop = whole[12:15]
    ahead = run(gpt2, checkpoint, *greedy, "--stop", stop, "--speculate").stdout.decode()
    assert ahead == whole[: whole.index(stop)] + "\n"


def test_drafts_are_told_where_speculation_was_asked_for(gpt2: Gpt2, checkpoint: Path) -> None:
    biased = ("--temperature", "0", "--bias", "Q=10000", "--json", "-v")
    ahead, plain = run(gpt2, checkpoint, *biased, "--speculate"), run(gpt2, checkpoint, *biased)
    report, expected = json.loads(ahead.stdout), json.loads(plain.stdout)
    # Q and QQ and QQQ have no earlier occurrence; then drafts of 3, 7, 15 and what is left.
    usage = report.pop("usage")
    assert usage["completion_tokens"] == 40
    assert usage["draft_tokens"] == usage["accepted_draft_tokens"] > 30
    assert b"draft tokens accepted" in ahead.stderr
    assert b"tokens a pass" in ahead.stderr
    assert "draft_tokens" not in expected.pop("usage")
    assert b"draft" not in plain.stderr
    assert report["settings"] == expected["settings"]
