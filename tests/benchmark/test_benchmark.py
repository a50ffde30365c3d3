"""The parts of a benchmark: its order, its processes, its bytes and its quality."""

from __future__ import annotations

import inspect
import json
import os
import resource
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from checkpoints import TINY, load_checkpoint, save_checkpoint, save_model_folder

from gpt2cli.benchmark.bandwidth import bytes_per_token
from gpt2cli.benchmark.comparison import Comparison
from gpt2cli.benchmark.conditions import Conditions
from gpt2cli.benchmark.engines import Engine
from gpt2cli.benchmark.many.prompts import KINDS, write_prompts
from gpt2cli.benchmark.measurements import (
    MEASURES,
    WARM_UP,
    WHOLE,
    Measurement,
    Step,
    Turn,
    rate_between,
    schedule,
)
from gpt2cli.benchmark.peers import transformers_worker
from gpt2cli.benchmark.peers.catalog import PEERS, find_peers
from gpt2cli.benchmark.peers.llama_cpp import llama_cpp_engines, read_llama_bench
from gpt2cli.benchmark.quality import compare_quality
from gpt2cli.benchmark.report import report_speed
from gpt2cli.benchmark.settings import LLAMA_CPP, PEER_NAMES, SpeedSettings, with_threads
from gpt2cli.benchmark.timed_process import run_timed
from gpt2cli.benchmark.workload import HELD_OUT, PROMPT, fit_workload, tokenized_text
from gpt2cli.checkpoint.config import ModelConfig
from gpt2cli.cli.command_lines import own_programs
from gpt2cli.errors import Error, UsageError
from gpt2cli.generation.engine import continue_ids
from gpt2cli.generation.requests import GenerationSettings, Request
from gpt2cli.generation.sampling import Sampler
from gpt2cli.generation.settings import SamplingSettings
from gpt2cli.hub.model_files import find_model
from gpt2cli.model.model import load_model
from gpt2cli.ops.backend import kernels_are_built, open_backend
from gpt2cli.ops.compute import Compute
from gpt2cli.ops.threads import THREAD_VARIABLES, available_cores
from gpt2cli.scoring.windows import Scheme
from gpt2cli.text.loading import load_tokenizer

STEPS_OF: dict[str, list[Step]] = {"a": [*WHOLE, "inside"], "b": ["inside"], "c": [*WHOLE, "inside"]}


def test_engines_do_a_step_one_after_the_other_in_every_round() -> None:
    turns = [turn for turn in schedule(2, STEPS_OF) if turn.round != WARM_UP]
    assert turns[:7] == [
        Turn(1, "first_token", "a"),
        Turn(1, "first_token", "c"),
        Turn(1, "peak_memory", "a"),
        Turn(1, "peak_memory", "c"),
        Turn(1, "inside", "a"),
        Turn(1, "inside", "b"),
        Turn(1, "inside", "c"),
    ]
    assert sorted(turns[7:]) == sorted(turn._replace(round=2) for turn in turns[:7])


def test_every_round_begins_with_another_engine() -> None:
    first: dict[int, str] = {}
    for turn in schedule(4, STEPS_OF):
        if turn.round != WARM_UP and turn.step == "inside":
            first.setdefault(turn.round, turn.engine)
    assert list(first.values()) == ["a", "b", "c", "a"]


def test_whole_processes_run_once_before_the_first_round() -> None:
    turns = list(schedule(1, STEPS_OF))
    assert [turn.engine for turn in turns if turn.round == WARM_UP] == ["a", "c"]
    assert all(turn.round == WARM_UP for turn in turns[:2])


@pytest.mark.parametrize("values", [[3.0], [1.0, 5.0], [9.0, 1.0, 2.0], [4.0, 1.0, 3.0, 2.0]])
def test_a_measurement_tells_median_and_range(values: list[float]) -> None:
    told = Measurement("s", values).to_dict()
    assert told == {
        "median": np.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
        "unit": "s",
    }


NEXT_LINE = """
import pathlib, sys
path = pathlib.Path(sys.argv[1])
first, rest = path.read_text().split("\\n", 1)
path.write_text(rest)
print(first)
"""


def test_the_bandwidth_reached_is_compared_in_each_round(tmp_path: Path) -> None:
    rounds = tmp_path / "rounds"
    # Where the memory is slow for a while, decoding is too; the medians are of different rounds.
    with rounds.open("w") as file:
        for decode, bandwidth, fraction in ((100, 50, 0.8), (60, 30, 0.9), (90, 60, 0.6)):
            values = {"decode": decode, "bandwidth": bandwidth, "bandwidth_fraction": fraction}
            file.write(json.dumps(values) + "\n")
    own = Engine("gpt2cli", None, "float32", {"inside": [sys.executable, "-c", NEXT_LINE, str(rounds)]})
    comparison = Comparison([own], 3, dict(os.environ))
    for turn in comparison.turns():
        comparison.take(turn)
    report = report_speed(comparison, {}, 400_000_000, {})
    assert report["engines"][0]["measures"]["decode"]["median"] == 90
    assert (report["bandwidth_gb_s"], report["bandwidth_fraction"]) == (50, 0.8)


def test_a_rate_counts_the_steps_after_the_first() -> None:
    assert rate_between([10.0, 10.5, 11.0, 12.0]) == 1.5
    assert rate_between([9.0, 10.0, 11.5, 12.0], rows=2) == 1.0


def test_a_process_is_measured_by_itself(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys; sys.stdout.write(os.environ['WORD'] + sys.argv[1]); data = [1] * 30_000_000"
    )
    finished = run_timed([sys.executable, str(script), "!"], {"WORD": "hi"})
    assert finished.output == b"hi!"
    assert finished.seconds > 0
    assert 240e6 < finished.peak_bytes < 400e6


def test_the_memory_of_the_one_who_measures_is_not_counted() -> None:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    finished = run_timed([sys.executable, "-I", "-S", "-c", "pass"], {})
    assert finished.peak_bytes < own / 4


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import sys; print('Error: no such model. Try another.', file=sys.stderr); sys.exit(2)",
            "no such model",
        ),
        ("raise RuntimeError('too hot')", "^too hot$"),
        ("import sys; sys.exit(3)", "failed silently"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
    ],
)
def test_a_process_that_fails_tells_its_last_line(code: str, said: str) -> None:
    with pytest.raises(Error, match=said):
        run_timed([sys.executable, "-c", code], {})


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(Error, match="No such file"):
        run_timed(["/nowhere/at/all"], {})


def test_every_choice_of_a_backend_reaches_every_process() -> None:
    names = {field.name for field in fields(Compute)} - {"compile"} | {"compiled", "for_decoding"}
    assert names == inspect.signature(open_backend).parameters.keys()
    chosen = Compute("cpu", "torch", "bfloat16", "none", 1)
    assert Compute(**json.loads(json.dumps(asdict(chosen)))) == chosen
    assert chosen.open().dtype_name == "bfloat16"
    assert chosen.in_float32().open().dtype_name == "float32"


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_token_reads_all_weights_but_the_embeddings(tmp_path: Path, tied: bool, backend: str) -> None:
    reference = save_checkpoint(tmp_path, tie_word_embeddings=tied)
    numbers = {name: parameter.numel() for name, parameter in reference.named_parameters()}
    unread = numbers["transformer.wpe.weight"] + (0 if tied else numbers["transformer.wte.weight"])
    assert bytes_per_token(load_checkpoint(tmp_path, backend)) == 4 * (sum(numbers.values()) - unread)


@pytest.mark.skipif(not kernels_are_built(), reason="the kernels are not built")
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_converted_weights_count_as_they_are_held(
    tmp_path: Path, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ASSETS_CACHE", str(tmp_path / "assets"))
    save_checkpoint(tmp_path / "model", tie_word_embeddings=tied, n_embd=64)
    files = find_model(str(tmp_path / "model"))
    assert files is not None
    whole, half, quarter = (
        bytes_per_token(load_model(files, Compute(**choice).open()))
        for choice in ({"threads": 1}, {"threads": 1, "dtype": "float16"}, {"threads": 1, "quantize": "int8"})
    )
    # Biases and norms stay as they are, and 8 bits come with scales.
    assert whole / 2 < half < whole / 1.9
    assert whole / 4 < quarter < whole / 3


@pytest.mark.parametrize("context", [1024, 48, 5, 2])
def test_the_work_fits_the_context(context: int) -> None:
    workload = fit_workload(ModelConfig(vocab_size=131, n_positions=context), 512, 128, 8, 4, 4)
    assert len(workload.prompt_ids) == min(512, context - 1)
    # The last token that is made is never read.
    assert len(workload.short_ids) + workload.tokens <= context
    assert workload.tokens >= 1
    assert 1 <= workload.new_tokens < context
    assert max(workload.prompt_ids) < 131


def test_the_texts_are_as_long_as_they_are_said_to_be() -> None:
    assert len(PROMPT.split()) == 10
    assert 45_000 < HELD_OUT.stat().st_size < 50_000
    assert HELD_OUT.read_text("utf-8").endswith(('."\n', ".\n", "!\n"))
    assert 4_000_000 <= len(tokenized_text().encode()) < 4_100_000


@pytest.mark.parametrize("bos", [None, 7])
def test_quality_is_what_transformers_and_torch_find(tmp_path: Path, bos: int | None) -> None:
    references = [save_checkpoint(tmp_path / str(seed), seed, initializer_range=0.1) for seed in (0, 1)]
    window, stride = TINY["n_positions"], TINY["n_positions"] // 2
    # Three windows fill it.
    ids = np.random.default_rng(0).integers(0, TINY["vocab_size"], 2 * window).tolist()
    ids[0] = ids[0] if bos is None else bos
    sequence = ids if bos is None else ids[1:]
    logprobs = torch.zeros(2, len(ids) - 1, TINY["vocab_size"])
    with torch.no_grad():
        for which, reference in enumerate(references):
            # Later windows replace the first half of what they read again.
            for start in range(0, len(ids) - stride, stride):
                row = torch.tensor([ids[start : start + window]])
                scores = reference(row).logits[0].log_softmax(-1)
                first = stride if start else 0
                known = scores[first : len(ids) - 1 - start]
                logprobs[which, start + first : start + first + len(known)] = known
    first_model, second_model = (load_checkpoint(tmp_path / str(seed)) for seed in (0, 1))
    found = compare_quality(first_model, second_model, sequence, Scheme(bos, window, stride))
    targets = torch.tensor(ids[1:])
    nats = [F.nll_loss(each, targets, reduction="sum").item() for each in logprobs]
    assert found.tokens == len(targets)
    assert [found.reference_nats, found.nats] == pytest.approx(nats, rel=1e-4)
    assert found.top1_agreement == (logprobs[0].argmax(-1) == logprobs[1].argmax(-1)).double().mean().item()
    kl = F.kl_div(logprobs[1], logprobs[0], reduction="batchmean", log_target=True).item()
    assert found.mean_kl == pytest.approx(kl, rel=1e-3)
    assert found.perplexity_ratio == pytest.approx(found.perplexity / found.reference_perplexity)


def test_a_model_that_produces_nan_is_an_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    model = load_checkpoint(tmp_path)
    model.weights["final_norm.weight"][0] = np.nan
    with pytest.raises(Error, match="produced NaN"):
        compare_quality(model, model, [1, 2, 3], Scheme(None, 48, 24))


def test_every_engine_with_a_name_can_be_set_up() -> None:
    assert tuple(PEERS) == PEER_NAMES


def test_the_threads_are_those_of_the_user_else_one_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert with_threads(Compute("cpu")) == Compute("cpu", threads=available_cores())
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert with_threads(Compute()).threads == 3
    assert with_threads(Compute(threads=2)).threads == 2


def test_settings_are_checked_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.touch()
    settings = SpeedSettings(only=["decode"], against=[LLAMA_CPP, "tiktoken", LLAMA_CPP], gguf=[file])
    settings.check()
    assert (settings.measures, settings.peers) == (["decode"], [LLAMA_CPP, "tiktoken"])
    assert SpeedSettings().measures == [name for name, measure in MEASURES.items() if measure.usual]
    for wrong in (
        replace(settings, only=["speed"]),
        replace(settings, against=["gpt4all"]),
        replace(settings, against=[]),
        replace(settings, gguf=[tmp_path]),
    ):
        with pytest.raises(UsageError):
            wrong.check()


@pytest.fixture
def conditions(tmp_path: Path) -> Conditions:
    folder = tmp_path / "model"
    save_model_folder(folder, n_positions=64)
    files = find_model(str(folder))
    assert files is not None
    config = ModelConfig.from_json(files.config)
    return Conditions(
        model=str(folder),
        files=files,
        tokenizer=load_tokenizer(files, config),
        workload=fit_workload(config, 20, 9, 2, 6, 3),
        prompts=tmp_path / "prompts.json",
        programs=own_programs(str(folder), Compute(threads=1)),
        measures=list(MEASURES),
        device="cpu",
        dtype="float32",
        threads=1,
        environment=os.environ,
        gguf_files=[],
    )


def own_continuation(conditions: Conditions, tokens: int) -> str:
    """Return what this package writes after as much of PROMPT as the context has room for."""
    ids = conditions.tokenizer.encode(PROMPT)[-(conditions.workload.context - tokens) :]
    sampler = Sampler(SamplingSettings(temperature=0.0), 0)
    request = Request(ids, sampler, GenerationSettings(tokens))
    generation = continue_ids(load_checkpoint(Path(conditions.model)), request)
    return conditions.tokenizer.decode(token.id for token in generation).decode(errors="replace")


def test_transformers_is_given_the_same_work(conditions: Conditions, tmp_path: Path) -> None:
    (peer,), missing = find_peers(["transformers"], conditions, tmp_path)
    assert (list(peer.steps), missing) == ([*WHOLE, "inside"], {})
    task = json.loads(peer.steps["peak_memory"][-1])
    assert task["generate"] == 10
    written = transformers_worker.generate(task, 10)
    assert written.endswith(own_continuation(conditions, 10))
    assert len(conditions.tokenizer.encode(written)) >= 10
    assert json.loads(peer.steps["inside"][-1])["measures"] == ["decode", "prefill", "batch", "score"]


def test_ctranslate2_is_given_the_same_work(conditions: Conditions, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2")
    (peer,), missing = find_peers(["ctranslate2-int8"], conditions, tmp_path)
    assert (list(peer.steps), missing) == ([*WHOLE, "inside", "many"], {})
    # Rounded to 8 bits, the model goes on in another way.
    assert run_timed(peer.steps["peak_memory"], os.environ).output
    workload = conditions.workload
    room = workload.context - workload.new_tokens
    write_prompts(conditions.prompts, conditions.tokenizer, KINDS, workload.prompts, room)
    measures = {
        name: value
        for step in ("inside", "many")
        for name, value in json.loads(run_timed(peer.steps[step], os.environ).output).items()
    }
    assert sorted(measures) == ["batch", "decode", "prefill", "prompts", "shared", "unshared"]
    assert all(value > 0 for value in measures.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "name", "said"),
    [("cuda", "ctranslate2", "on a CPU only"), ("cpu", "llama.cpp", "there is no .gguf file in ")],
)
def test_what_an_engine_lacks_is_reported(
    conditions: Conditions, tmp_path: Path, device: str, name: str, said: str
) -> None:
    if name == "ctranslate2":
        pytest.importorskip("ctranslate2")
    found, missing = find_peers([name], replace(conditions, device=device), tmp_path)
    assert found == []
    assert said in missing[name]


def test_a_model_of_any_file_name_is_shown_to_others_as_a_checkpoint(
    conditions: Conditions, tmp_path: Path
) -> None:
    odd = conditions.files.weights[0].rename(tmp_path / "model" / "best.safetensors")
    files = conditions.files._replace(weights=(odd,), tokenizer=())
    find_peers([], replace(conditions, files=files), tmp_path)
    shown = load_checkpoint(tmp_path / "checkpoint")
    assert shown.config == ModelConfig.from_json(conditions.files.config)
    text = HELD_OUT.read_text("utf-8")[:200]
    again = find_model(str(tmp_path / "checkpoint"))
    assert again is not None
    assert load_tokenizer(again, shown.config).encode(text) == conditions.tokenizer.encode(text)


def test_llama_cpp_is_asked_for_what_its_programs_can_measure(conditions: Conditions, tmp_path: Path) -> None:
    conditions = replace(
        conditions,
        workload=fit_workload(ModelConfig(), 512, 128, 8, 64, 60),
        measures=["prefill", "decode", "peak_memory"],
        threads=2,
        environment={"LLAMA_CPP_BIN": str(tmp_path)},
    )
    files = [Path("x/f16.gguf"), Path("x/q8_0.gguf")]
    with pytest.raises(Error, match="no llama-bench, llama-completion, llama-server"):
        llama_cpp_engines(files, conditions)
    program = tmp_path / "llama-bench"
    program.touch(mode=0o755)
    f16, q8_0 = llama_cpp_engines(files, conditions)
    assert (f16.name, q8_0.precision) == ("llama.cpp f16", "q8_0")
    asked = "-m x/q8_0.gguf -p 512 -n 128 -r 1 -t 2 -o json"
    assert q8_0.steps == {"inside": [str(program), *asked.split()]}
    (tmp_path / "llama-completion").touch(mode=0o755)
    fewer = replace(conditions, measures=["decode", "peak_memory"], threads=None)
    (alone,) = llama_cpp_engines(files[:1], fewer)
    assert alone.name == "llama.cpp"
    assert list(alone.steps) == ["peak_memory", "inside"]
    assert "-t" not in alone.steps["inside"]
    assert {"-p", "0"} <= set(alone.steps["inside"])
    (tmp_path / "llama-server").touch(mode=0o755)
    (serving,) = llama_cpp_engines(files[:1], replace(conditions, measures=["prompts", "server", "jsonl"]))
    many, served = (json.loads(serving.steps[step][-1]) for step in ("many", "serving"))
    assert (many["measures"], served["measures"]) == (["prompts"], ["server"])
    asked = "-m x/f16.gguf -np 16 -c 8544 --threads-http 64 -t 2 --cache-ram 0 --port"
    assert many["servers"]["16"] == [str(tmp_path / "llama-server"), *asked.split()]


def test_the_json_of_llama_bench_is_read() -> None:
    tests = [{"n_prompt": 512, "n_gen": 0, "avg_ts": 700.5}, {"n_prompt": 0, "n_gen": 128, "avg_ts": 50.25}]
    assert read_llama_bench(json.dumps(tests).encode()) == {"prefill": 700.5, "decode": 50.25}
