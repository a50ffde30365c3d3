"""`gpt2 bench` as users run it, on a checkpoint so small that only start-up takes time."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from checkpoints import save_model_folder
from conftest import COMMAND, Gpt2
from terminal import show

from gpt2cli import __version__
from gpt2cli.benchmark.measurements import MEASURES

CONTEXT = 64
SHORT = (
    *(
        "--rounds",
        "1",
        "-n",
        "6",
        "--prompt-tokens",
        "20",
        "--batch",
        "3",
        "--prompts",
        "5",
        "--clients",
        "3",
    ),
    *("--backend", "numpy", "--threads", "1"),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    save_model_folder(folder, n_positions=CONTEXT)
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("Once upon a time there was a king.\n\nHe had a dog, and the dog had a bone.\n" * 3)
    return file


def run(gpt2: Gpt2, checkpoint: Path, *arguments: str | Path, **options: Any) -> tuple[Any, str]:
    """Return the object that bench prints with --json, and what it says on stderr."""
    done = gpt2("bench", "-m", checkpoint, *SHORT, "--json", *arguments, **options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == 1
    return json.loads(done.stdout), done.stderr.decode()


def require_sound(measures: dict[str, Any], names: Sequence[str]) -> None:
    assert list(measures) == list(names)
    for name, measurement in measures.items():
        assert measurement["unit"] == MEASURES[name].unit
        assert measurement["rounds"] == 1
        assert 0 < measurement["min"] == measurement["median"] == measurement["max"]


@pytest.mark.slow
def test_json_tells_every_measure_and_what_was_measured(gpt2: Gpt2, checkpoint: Path) -> None:
    report, errors = run(gpt2, checkpoint)
    assert errors == ""
    (own,) = report["engines"]
    assert (own["engine"], own["version"], own["precision"]) == ("gpt2cli", __version__, "float32")
    require_sound(own["measures"], [name for name, measure in MEASURES.items() if measure.usual])
    assert report["model"] == {"name": str(checkpoint), "revision": None}
    assert report["settings"] == {
        "backend": "numpy",
        "device": "cpu",
        "dtype": "float32",
        "threads": 1,
        "prompt_tokens": 20,
        "tokens": 6,
        "batch": 3,
        "prompts": 5,
        "clients": 3,
        "rounds": 1,
    }
    assert report["machine"]["processor"]
    assert report["machine"]["cores"] >= 1
    assert report["machine"]["numpy"] == version("numpy")
    decode = own["measures"]["decode"]["median"]
    assert 0 < report["bytes_per_token"] < (checkpoint / "model.safetensors").stat().st_size
    assert report["bandwidth_gb_s"] == report["bandwidth"]["median"] > 0
    assert report["bandwidth_fraction"] == pytest.approx(
        report["bytes_per_token"] * decode / (report["bandwidth_gb_s"] * 1e9)
    )
    # A whole process of Python and numpy, and no more than that.
    assert 20 < own["measures"]["peak_memory"]["median"] < 200


@pytest.mark.slow
def test_the_work_shrinks_to_the_context_and_the_rounds_are_counted(gpt2: Gpt2, checkpoint: Path) -> None:
    done = gpt2("bench", "-m", checkpoint, "--json", "--rounds", "2", "--only", "prefill", "-n", "999", "-v")
    report = json.loads(done.stdout)
    assert (report["settings"]["prompt_tokens"], report["settings"]["tokens"]) == (CONTEXT - 1, CONTEXT - 8)
    (own,) = report["engines"]
    assert list(own["measures"]) == ["prefill"]
    assert own["measures"]["prefill"]["rounds"] == 2
    assert own["measures"]["prefill"]["min"] <= own["measures"]["prefill"]["median"]
    assert report["bandwidth_fraction"] is None
    assert done.stderr.decode().splitlines()[-2:] == [
        f"Round {number} of 2: gpt2cli, inside" for number in (1, 2)
    ]


@pytest.mark.slow
def test_a_pipe_gets_a_table_with_tabs_and_stderr_the_circumstances(gpt2: Gpt2, checkpoint: Path) -> None:
    done = gpt2("bench", "-m", checkpoint, *SHORT, "--only", "decode")
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [row[:2] for row in rows] == [
        ["MEASURE", "UNIT"],
        ["computed in", ""],
        ["decode of 6", "tokens/s"],
        ["weights read", "MB/token"],
        ["memory bandwidth", "GB/s"],
        ["bandwidth reached", "%"],
    ]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows[2:])
    assert done.stderr.decode().count("\n") == 1
    assert "(numpy, cpu, 1 thread)" in done.stderr.decode()


@pytest.mark.slow
def test_markdown_is_a_table_with_numbers_to_the_right(gpt2: Gpt2, checkpoint: Path) -> None:
    done = gpt2("bench", "-m", checkpoint, *SHORT, "--only", "prefill,decode", "--markdown")
    caption, empty, header, rule, *rows = done.stdout.decode().splitlines()
    assert (caption.startswith(f"{checkpoint} with gpt2cli"), empty) == (True, "")
    assert header == "| MEASURE | UNIT | gpt2cli |"
    assert rule == "| --- | --- | ---: |"
    assert [row.split(" | ")[0] for row in rows[:3]] == ["| computed in", "| prefill of 20", "| decode of 6"]
    assert all(row.count("|") == 4 for row in rows)
    assert done.stderr == b""


@pytest.mark.slow
def test_a_terminal_gets_numbers_to_the_right(checkpoint: Path, environment: dict[str, str]) -> None:
    arguments = ["bench", "-m", str(checkpoint), *SHORT, "--only", "decode", "-q"]
    lines = show(arguments, environment | {"TERM": "dumb"}, 80).splitlines()
    assert len(lines) == 6
    assert len({len(line.rstrip()) for line in lines}) == 1


@pytest.mark.slow
def test_other_engines_take_part_and_a_missing_one_is_told(
    gpt2: Gpt2, checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    report, errors = run(
        gpt2,
        checkpoint,
        *("--only", "decode,prefill,batch,score", "--against", "transformers,llama.cpp"),
        env={"TMPDIR": str(folder)},
    )
    own, other = report["engines"]
    assert (own["engine"], other["engine"]) == ("gpt2cli", "transformers")
    assert (other["version"], other["precision"]) == (version("transformers"), "float32")
    for engine in (own, other):
        require_sound(engine["measures"], ["prefill", "decode", "batch", "score"])
    (reason,) = report["left_out"].values()
    assert errors == f"llama.cpp is left out: {reason}\n"
    assert reason == f"there is no .gguf file in {checkpoint}. Convert the model, or use --gguf FILE."
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_an_engine_that_fails_on_the_way_is_left_out_and_the_rest_goes_on(
    gpt2: Gpt2, checkpoint: Path, tmp_path: Path
) -> None:
    program = tmp_path / "llama-bench"
    program.write_text("#!/bin/sh\necho 'error: unknown architecture' >&2\nexit 1\n")
    program.chmod(0o755)
    file = tmp_path / "model.gguf"
    file.touch()
    report, errors = run(
        gpt2,
        checkpoint,
        *("--only", "decode", "--against", "llama.cpp", "--gguf", file),
        env={"LLAMA_CPP_BIN": str(tmp_path)},
    )
    assert errors == "llama.cpp is left out: error: unknown architecture\n"
    assert report["left_out"] == {"llama.cpp": "error: unknown architecture"}
    assert [engine["engine"] for engine in report["engines"]] == ["gpt2cli"]


@pytest.mark.slow
def test_float32_agrees_with_itself_and_with_score(gpt2: Gpt2, checkpoint: Path, text: Path) -> None:
    report, errors = run(gpt2, checkpoint, "--quality", "--text", text)
    quality = report["quality"]
    assert errors == ""
    assert (quality["top1_agreement"], quality["perplexity_ratio"], quality["mean_kl_nats"]) == (
        1.0,
        1.0,
        0.0,
    )
    scored = gpt2(
        "score", "-m", checkpoint, text, "--by", "document", "--json", "--unit", "nats", "--threads", "1"
    )
    (row,) = json.loads(scored.stdout)["rows"]
    assert (quality["tokens"], quality["bytes"]) == (row["tokens"], row["bytes"])
    for name in ("perplexity", "bits_per_byte"):
        assert quality[name] == quality[f"{name}_float32"] == pytest.approx(row[name], rel=1e-4)


@pytest.mark.slow
def test_another_type_of_numbers_differs_a_little(gpt2: Gpt2, checkpoint: Path, text: Path) -> None:
    report, _ = run(
        gpt2, checkpoint, "--quality", "--text", text, "--dtype", "bfloat16", "--backend", "torch"
    )
    quality = report["quality"]
    assert (report["settings"]["backend"], report["settings"]["dtype"]) == ("torch", "bfloat16")
    assert quality["perplexity_float32"] != quality["perplexity"]
    assert quality["perplexity_ratio"] == pytest.approx(1.0, abs=0.1)
    assert 0.5 < quality["top1_agreement"] <= 1.0
    assert 0.0 < quality["mean_kl_nats"] < 0.1


@pytest.mark.slow
def test_quality_is_told_as_a_table_of_the_held_out_text(gpt2: Gpt2, checkpoint: Path) -> None:
    done = gpt2("bench", "-m", checkpoint, "--threads", "1", "--quality")
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [row[0] for row in rows] == [
        *("MEASURE", "perplexity", "bits per byte", "perplexity ratio", "top-1 agreement"),
        "mean KL divergence",
    ]
    assert rows[0][2:] == ["float32", "float32"]
    assert rows[1][2] == rows[1][3]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--against", "gpt4all"], "'gpt4all' is not an engine. Known are transformers,"),
        (["--only", "decode,speed"], "'speed' is not a measure."),
        (["--only", ""], "'' is not a measure."),
        (["--rounds", "0"], "--rounds"),
        (["-n", "0"], "--tokens"),
        (["--batch", "-1"], "--batch"),
        (["--json", "--markdown"], "exclude each other"),
        (["--quality", "--against", "transformers"], "exclude each other"),
        (["--text", "x.txt"], "--text needs --quality"),
        (["--gguf", "x.gguf"], "--gguf needs --against llama.cpp"),
        (["--against", "llama.cpp", "--gguf", "nowhere.gguf"], "nowhere.gguf is not a file"),
        (["--backend", "numpy", "--dtype", "float16"], "numpy cannot compute in float16"),
        (["--quantize", "int8", "--dtype", "float16"], "excludes --dtype"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_a_model_is_looked_for(
    gpt2: Gpt2, arguments: list[str], said: str
) -> None:
    done = gpt2("bench", "-m", "no-such-model", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_ctrl_c_ends_the_processes_and_leaves_no_files(
    checkpoint: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    process = subprocess.Popen(
        [*COMMAND, "bench", "-m", str(checkpoint), "--rounds", "1000", "--only", "decode", "-v"],
        env=environment | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"Round 1 of 1000: gpt2cli, inside\n"
    # The launcher, and what it launches.
    while len(children := psutil.Process(process.pid).children(recursive=True)) < 2:
        assert process.poll() is None
    assert list(folder.iterdir())
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (-signal.SIGINT, b"", b"")
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert not list(folder.iterdir())
