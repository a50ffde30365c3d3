"""`gpt2 generate` as users run it: arguments, pipes, files and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from backends import CPU_DEFAULT, needs_kernels
from checkpoints import save_model_folder
from conftest import Gpt2

from gpt2cli.ops.threads import THREAD_VARIABLES, available_cores

pytestmark = pytest.mark.slow

CONTEXT = 64
PROMPT = "Once upon a time"
PHASES = ["prompt", "backend", "files", "weights", "tokenizer", "encode", "prefill", "sampling"]
if sys.platform == "linux":
    # Elsewhere a process cannot tell when it began.
    PHASES.insert(0, "start")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generate")
    save_model_folder(folder, n_positions=CONTEXT)
    return folder


@pytest.fixture
def generate(gpt2: Gpt2, checkpoint: Path) -> Gpt2:
    def run(*arguments: str | Path, **options: Any) -> Any:
        return gpt2("generate", *arguments, "-m", checkpoint, **options)

    return run


def parsed(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def only(output: bytes) -> dict[str, Any]:
    (entry,) = parsed(output)
    return entry


def test_stdout_is_the_text_and_one_line_end_and_stderr_is_empty(generate: Gpt2) -> None:
    text = generate(PROMPT, "--seed", "1", "-n", "20")
    report = generate(PROMPT, "--seed", "1", "-n", "20", "--json")
    assert (text.returncode, text.stderr) == (0, b"")
    assert text.stdout == only(report.stdout)["text"].encode() + b"\n"
    assert b"\x1b" not in text.stdout


@pytest.mark.slow
def test_a_seed_repeats_its_text_whatever_backend_and_batch(generate: Gpt2) -> None:
    # On a busy machine a second thread of torch makes this ten times as long.
    one = ["--threads", "1"]
    runs = [
        generate(PROMPT, "--seed", "3", "-n", "30", "--num-samples", "3", "--json", *extra)
        for extra in (
            [],
            ["--batch-size", "2"],
            one,
            [*one, "--backend", "torch"],
            [*one, "--backend", "numpy"],
        )
    ]
    texts = [[entry["text"] for entry in parsed(run.stdout)] for run in runs]
    assert all(other == texts[0] for other in texts)
    assert len(set(texts[0])) == 3
    alone = generate(PROMPT, "--seed", "3", "-n", "30")
    assert alone.stdout.decode() == texts[0][0] + "\n"


@pytest.mark.slow
def test_a_chosen_seed_is_told_and_reproduces_the_text(generate: Gpt2) -> None:
    first = only(generate(PROMPT, "-n", "20", "--json").stdout)
    again = only(generate(PROMPT, "-n", "20", "--json", "--seed", str(first["seed"])).stdout)
    assert again["text"] == first["text"]
    assert only(generate(PROMPT, "-n", "20", "--json").stdout)["seed"] != first["seed"]


def test_json_tells_all_that_a_text_depends_on(generate: Gpt2, checkpoint: Path) -> None:
    report = only(generate(PROMPT, "--json", "-n", "7", "--seed", "5", "--top-k", "9", "--ban", "x").stdout)
    assert report["finish_reason"] == "length"
    assert report["usage"]["completion_tokens"] == len(report["token_ids"]) == 7
    assert report["usage"]["prompt_tokens"] > 1
    assert (report["seed"], report["prompt_truncated"], report["revision"]) == (5, False, None)
    assert report["model"] == str(checkpoint)
    assert report["settings"]["top_k"] == 9
    assert report["settings"]["temperature"] == 0.8
    assert report["settings"]["ban"] == ["x"]
    assert (report["settings"]["backend"], report["settings"]["dtype"]) in [
        (CPU_DEFAULT, "float32"),
        ("torch", "float32"),
    ]
    assert report["timing"].keys() >= {
        *(f"{phase}_seconds" for phase in PHASES),
        *("load_seconds", "prefill_seconds", "decode_seconds"),
    }
    assert all(seconds >= 0 for seconds in report["timing"].values())
    assert report["logprobs"] is None


def test_logprobs_name_each_token_and_the_likeliest_at_its_place(generate: Gpt2) -> None:
    report = only(generate(PROMPT, "--json", "-n", "12", "--logprobs", "4", "--temperature", "0").stdout)
    table = report["logprobs"]
    assert b"".join(map(bytes, table["bytes"])).decode(errors="replace") == report["text"]
    for token, logprob, top in zip(
        table["tokens"], table["token_logprobs"], table["top_logprobs"], strict=True
    ):
        assert len(top) == 4
        assert top[token] == logprob == max(top.values())
    assert table["text_offset"][0] == 0
    assert table["text_offset"] == sorted(table["text_offset"])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["argument", "stdin", "dash", "file", "file with CRLF"])
def test_a_prompt_means_the_same_however_it_comes(generate: Gpt2, tmp_path: Path, way: str) -> None:
    options = ("--seed", "1", "-n", "5", "--echo")
    file = tmp_path / "prompt.txt"
    file.write_bytes(PROMPT.encode() + (b"\r\n" if way == "file with CRLF" else b"\n"))
    if way == "argument":
        result = generate(PROMPT, *options)
    elif way == "stdin":
        result = generate(*options, stdin=file.read_bytes())
    elif way == "dash":
        result = generate("-", *options, stdin=file.read_bytes())
    else:
        result = generate("-f", file, *options)
    assert result.stderr == b""
    assert result.stdout == generate(PROMPT, *options).stdout
    assert result.stdout.startswith(PROMPT.encode())


def test_keep_newline_keeps_it(generate: Gpt2) -> None:
    echoed = generate("-n", "0", "--echo", "--keep-newline", stdin=b"two\n\n").stdout
    assert echoed == b"two\n\n\n"
    assert generate("-n", "0", "--echo", stdin=b"two\n\n").stdout == b"two\n\n"


def test_zero_tokens_print_an_empty_text(generate: Gpt2) -> None:
    assert generate(PROMPT, "-n", "0").stdout == b"\n"
    report = only(generate(PROMPT, "-n", "0", "--json").stdout)
    assert (report["text"], report["finish_reason"], report["token_ids"]) == ("", "length", [])


@pytest.mark.slow
def test_a_stop_string_ends_the_text_before_it(generate: Gpt2) -> None:
    options = ("--seed", "2", "-n", "40")
    whole = only(generate(PROMPT, *options, "--json").stdout)["text"]
    stop = whole[10:14]
    report = only(generate(PROMPT, *options, "--json", "--stop", "never there", "--stop", stop).stdout)
    assert report["text"] == whole[: whole.index(stop)]
    assert report["finish_reason"] == "stop"
    assert report["usage"]["completion_tokens"] < 40
    text = generate(PROMPT, *options, "--stop", stop).stdout
    assert text.decode() == report["text"] + "\n"


def test_the_prompt_and_the_ways_to_end_a_text_are_reported(generate: Gpt2, tmp_path: Path) -> None:
    ends = ("--stop-at", "line", "--keep-stop", "--min-tokens", "2", "-n", "3")
    report = only(generate(PROMPT, *ends, "--json").stdout)
    assert report["prompt"] == PROMPT
    expected = {"stop_at": "line", "keep_stop": True, "min_tokens": 2, "best_of": None}
    assert expected.items() <= report["settings"].items()
    assert only(generate(*ends, "--json", stdin=b"From a pipe\n").stdout)["prompt"] == "From a pipe"
    cut = only(generate("x" * 300, "--truncate", "left", "--json", "-n", "1").stdout)
    assert (cut["prompt"], cut["prompt_truncated"]) == ("x" * 300, True)
    assert only(generate("--unconditional", "--json", "-n", "1").stdout)["prompt"] is None
    refused = generate(PROMPT, "--min-tokens", "4", "-n", "3")
    assert refused.stderr == b"Error: --min-tokens must be at most --max-tokens (3), not 4.\n"


@pytest.mark.slow
def test_a_stop_string_may_be_kept(generate: Gpt2) -> None:
    options = ("--seed", "2", "-n", "40")
    whole = only(generate(PROMPT, *options, "--json").stdout)["text"]
    stop = whole[10:14]
    kept = generate(PROMPT, *options, "--stop", stop, "--keep-stop").stdout
    assert kept.decode() == whole[: whole.index(stop)] + stop + "\n"


@pytest.mark.slow
def test_the_best_of_many_samples_are_those_of_the_same_seed(generate: Gpt2) -> None:
    options = ("--seed", "4", "-n", "9")
    drawn = parsed(generate(PROMPT, *options, "--num-samples", "7", "--logprobs", "0", "--json").stdout)
    drawn.sort(key=lambda entry: -entry["mean_logprob"])
    for entry in drawn:
        logprobs = entry["logprobs"]["token_logprobs"]
        assert entry["mean_logprob"] == pytest.approx(sum(logprobs) / 9)
    many = ("--best-of", "7", "--batch-size", "3")
    best = only(generate(PROMPT, *options, *many, "--json").stdout)
    same = ("index", "text", "token_ids", "mean_logprob")
    assert [best[name] for name in same] == [drawn[0][name] for name in same]
    assert (best["logprobs"], best["settings"]["best_of"]) == (None, 7)
    alone = generate(PROMPT, *options, *many, "-v")
    assert alone.stdout.decode() == best["text"] + "\n"
    assert b"wrote 63 in" in alone.stderr
    two = generate(PROMPT, *options, *many, "--num-samples", "2").stdout.decode()
    texts = [entry["text"] for entry in drawn[:2]]
    assert two == "".join(f"=== sample {n} of 2 ===\n{text}\n" for n, text in enumerate(texts, 1))
    refused = generate(PROMPT, "--best-of", "2", "--num-samples", "3")
    assert refused.stderr == b"Error: --best-of must be at least --num-samples (3), not 2.\n"


@pytest.mark.slow
def test_samples_follow_one_another_under_headers(generate: Gpt2) -> None:
    options = ("--seed", "4", "-n", "9", "--num-samples", "3")
    texts = [entry["text"] for entry in parsed(generate(PROMPT, *options, "--json").stdout)]
    expected = "".join(f"=== sample {n} of 3 ===\n{text}\n" for n, text in enumerate(texts, 1))
    assert generate(PROMPT, *options, "--batch-size", "2").stdout.decode() == expected


@pytest.mark.slow
def test_a_file_receives_what_stdout_would(generate: Gpt2, tmp_path: Path) -> None:
    target = tmp_path / "story.txt"
    result = generate(PROMPT, "--seed", "1", "-n", "9", "-o", target)
    assert (result.returncode, result.stdout) == (0, b"")
    assert target.read_bytes() == generate(PROMPT, "--seed", "1", "-n", "9").stdout
    assert list(tmp_path.glob("*story*")) == [target]


@pytest.mark.slow
def test_a_failed_run_leaves_the_old_file_as_it_was(generate: Gpt2, tmp_path: Path) -> None:
    target = tmp_path / "story.txt"
    target.write_text("precious")
    assert generate(PROMPT, "-o", target, "--top-p", "2").returncode == 2
    assert generate(PROMPT, "-o", target, "--device", "cuda:99").returncode == 1
    assert generate(PROMPT, "-o", tmp_path / "no" / "folder").returncode == 1
    assert target.read_text() == "precious"


def test_bias_and_ban_act_on_strings(generate: Gpt2) -> None:
    pushed = generate(PROMPT, "--bias", "Q=100", "-n", "6", "--temperature", "0")
    assert pushed.stdout == b"QQQQQQ\n"
    banned = generate(
        PROMPT, "--bias", "Q=100", "--bias", "Z=90", "--ban", "QQ", "-n", "4", "--temperature", "0"
    )
    assert banned.stdout == b"QZQZ\n"


@pytest.mark.slow
def test_unconditional_text_begins_from_the_beginning_of_text_token(generate: Gpt2) -> None:
    report = only(generate("--unconditional", "--json", "-n", "5", "--seed", "1").stdout)
    assert report["usage"]["prompt_tokens"] == 1
    special = only(generate("<|endoftext|>", "--special", "--json", "-n", "5", "--seed", "1").stdout)
    assert special["token_ids"] == report["token_ids"]
    plain = only(generate("<|endoftext|>", "--json", "-n", "5", "--seed", "1").stdout)
    assert plain["usage"]["prompt_tokens"] > 1


@pytest.mark.slow
def test_the_end_of_text_token_stops_unless_it_is_ignored(generate: Gpt2) -> None:
    uniform = ("--temperature", "1000", "--top-k", "0", "--top-p", "1", "--num-samples", "20", "--seed", "1")
    reasons = [entry["finish_reason"] for entry in parsed(generate(PROMPT, "--json", *uniform).stdout)]
    assert "stop" in reasons
    ignoring = parsed(generate(PROMPT, "--json", "--ignore-eos", *uniform).stdout)
    assert {entry["finish_reason"] for entry in ignoring} == {"length"}
    assert not any(0 in entry["token_ids"] for entry in ignoring)


@pytest.mark.slow
def test_a_prompt_beyond_the_context_is_refused_or_cut(generate: Gpt2) -> None:
    long = "x" * 300
    refused = generate(long)
    assert refused.returncode == 2
    assert b"300 tokens" in refused.stderr
    assert b" 64" in refused.stderr
    for side in ("left", "right"):
        cut = generate(long, "--truncate", side, "--json", "-n", "4")
        assert only(cut.stdout)["prompt_truncated"] is True
        assert only(cut.stdout)["usage"]["prompt_tokens"] == CONTEXT + 1 - 4
        assert cut.stderr == b"The prompt was cut to 61 tokens.\n"


@pytest.mark.slow
def test_generation_ends_with_the_context_unless_it_slides(generate: Gpt2) -> None:
    ends = only(generate(PROMPT, "--json", "-n", "200", "--ignore-eos").stdout)
    assert ends["usage"]["prompt_tokens"] + ends["usage"]["completion_tokens"] == CONTEXT + 1
    slides = only(generate(PROMPT, "--json", "-n", "200", "--ignore-eos", "--overflow", "slide").stdout)
    assert slides["usage"]["completion_tokens"] == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x", "--temperature", "-1"], "--temperature"),
        (["x", "--top-p", "0"], "must be above 0 and at most 1 (off), not 0.0"),
        (["x", "--top-p", "1.5"], "--top-p"),
        (["x", "-n", "-1"], "--max-tokens"),
        (["x", "--seed", "-1"], "--seed"),
        (["x", "--seed", str(2**64)], "--seed"),
        (["x", "--logprobs", "2"], "--logprobs needs --json"),
        (["x", "--stop", ""], "contains an empty text"),
        (["x", "--bias", "the"], "is not TEXT=X"),
        (["x", "--bias", "the=nan"], "is not TEXT=X"),
        (["x", "--ban", ""], "contains an empty text"),
        (["x", "--unconditional"], "--unconditional takes no prompt"),
        (["x", "-f", "y"], "exclude each other"),
        ([""], "--unconditional"),
        (["x", "--overflow", "wrap"], "--overflow"),
        (["x", "--device", "gpu"], "not a device"),
        (["x", "--no-such-flag"], "--no-such-flag"),
        (["x", "--backend", "numpy", "--dtype", "float16"], "numpy"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    generate: Gpt2, arguments: list[str], message: str
) -> None:
    result = generate(*arguments)
    assert result.returncode == 2
    assert result.stdout == b""
    assert message in result.stderr.decode()
    assert result.stderr.startswith(b"Error: ")
    assert result.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_a_missing_cuda_device_is_one_line_and_never_a_fallback(generate: Gpt2) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a CUDA device is here")
    result = generate("x", "--device", "cuda")
    assert result.returncode == 1
    assert result.stdout == b""
    assert result.stderr.startswith(b"Error: No CUDA device is usable here")
    assert result.stderr.count(b"\n") == 1


def test_invalid_utf8_is_refused_with_its_offset(generate: Gpt2) -> None:
    result = generate(stdin=b"good \xff bad")
    assert result.returncode == 2
    assert b"offset 5" in result.stderr


@pytest.mark.slow
def test_verbose_tells_seed_and_speed_on_stderr_alone(generate: Gpt2) -> None:
    result = generate(PROMPT, "-v", "-n", "5", "--seed", "77")
    assert b"seed 77" in result.stderr
    assert b"tokens/s" in result.stderr
    assert result.stdout == generate(PROMPT, "-n", "5", "--seed", "77").stdout


def test_verbose_tells_where_the_time_before_the_first_token_went(generate: Gpt2) -> None:
    lines = (
        generate(PROMPT, "-v", "-n", "5", "--num-samples", "3", "--batch-size", "2")
        .stderr.decode()
        .splitlines()
    )
    total, _, phases = lines[-1].partition(" s until the first token: ")
    names, seconds = zip(*(phase.split() for phase in phases.split(", ")), strict=True)
    assert list(names) == PHASES
    assert float(total) == pytest.approx(sum(map(float, seconds)), abs=0.0005 * (len(PHASES) + 1))
    assert len(lines) == 3


@pytest.mark.slow
def test_color_is_styling_alone(generate: Gpt2) -> None:
    options = ("--seed", "1", "-n", "5", "--echo")
    colored = generate(PROMPT, *options, "--color", "always").stdout
    plain = generate(PROMPT, *options, "--color", "never").stdout
    assert colored == b"\x1b[1m" + PROMPT.encode() + b"\x1b[0m" + plain.removeprefix(PROMPT.encode())


@pytest.mark.slow
def test_the_bundled_model_writes_without_torch_and_twice_the_same(gpt2: Gpt2, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not here')\n")
    runs = [
        gpt2("generate", "Once upon a time", "--seed", "1", "-n", "60", env={"PYTHONPATH": str(tmp_path)})
        for _ in range(2)
    ]
    assert runs[0].returncode == 0
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stderr.startswith(b"Using the bundled model stories")
    words = runs[0].stdout.decode().split()
    assert len(words) > 30
    assert {"the", "and"} & set(words)


def threads_of_a_run(checkpoint: Path, backend: str, *arguments: str, **variables: str) -> int:
    """Return the threads that a backend has at the end of `gpt2 generate`."""
    module, tell = {
        "compiled": ("gpt2cli.ops import kernels", "kernels.threads"),
        # Each has some of the columns of a product.
        "numpy": ("threading import active_count", "active_count"),
    }[backend]
    script = (
        "import sys; from gpt2cli.cli.app import app\n"
        f"app(['generate', 'x', '-n', '1', '-m', {str(checkpoint)!r}, '--device', 'cpu', *sys.argv[1:]], "
        "standalone_mode=False)\n"
        f"from {module}; print({tell}())"
    )
    kept = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    command = [sys.executable, "-c", script, "--backend", backend, *arguments]
    result = subprocess.run(command, env=kept | variables, capture_output=True, check=True)
    return int(result.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("backend", [pytest.param("compiled", marks=needs_kernels), "numpy"])
def test_a_backend_computes_on_every_core_unless_threads_are_chosen(checkpoint: Path, backend: str) -> None:
    assert threads_of_a_run(checkpoint, backend) == available_cores()
    assert threads_of_a_run(checkpoint, backend, "--threads", "3") == 3
    assert threads_of_a_run(checkpoint, backend, OMP_NUM_THREADS="3") == 3


@pytest.mark.slow
def test_a_device_is_written_and_not_replaced(generate: Gpt2) -> None:
    result = generate(PROMPT, "--seed", "1", "-n", "5", "-o", "/dev/stdout")
    assert result.stdout == generate(PROMPT, "--seed", "1", "-n", "5").stdout
    assert Path("/dev/stdout").is_symlink()
    folder = generate(PROMPT, "-o", "/dev")
    assert (folder.returncode, folder.stderr) == (1, b"Error: /dev: Is a directory.\n")
