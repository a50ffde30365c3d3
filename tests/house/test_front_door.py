"""The package used from Python: names, types and messages."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Literal

import pytest
from backends import needs_kernels

import gpt2cli
from gpt2cli.generation.settings import CompletionSettings

pytestmark = pytest.mark.slow

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def model() -> gpt2cli.LanguageModel:
    return gpt2cli.load("stories", offline=True)


def test_every_exported_name_is_there_for_programs_and_for_type_checkers() -> None:
    tree = ast.parse(Path(gpt2cli.__file__).read_text())
    (typed,) = (
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    imported = {
        alias.asname or alias.name
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(gpt2cli.__all__) <= set(dir(gpt2cli))
    for name in gpt2cli.__all__:
        assert getattr(gpt2cli, name).__name__ in (name, f"open_{name}")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = gpt2cli.nonsense  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import gpt2cli; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["gpt2cli"]


def test_a_method_takes_the_settings_as_keywords_with_their_defaults() -> None:
    parameters = inspect.signature(gpt2cli.LanguageModel.generate).parameters
    assert list(parameters)[:2] == ["self", "prompt"]
    assert {name: parameters[name].default for name in list(parameters)[2:]} == {
        field.name: field.default for field in fields(CompletionSettings)
    }


def test_pieces_join_to_the_text_that_generate_returns(model: gpt2cli.LanguageModel) -> None:
    whole = model.generate(PROMPT, max_tokens=40, seed=7)
    assert "".join(model.stream(PROMPT, max_tokens=40, seed=7)) == whole.text
    assert model.tokenizer.decode(whole.token_ids).decode() == whole.text
    assert (whole.seed, whole.finish_reason, len(whole.token_ids)) == (7, "length", 40)


def test_a_sample_is_the_same_alone_and_among_others(model: gpt2cli.LanguageModel) -> None:
    several = model.samples(PROMPT, num_samples=3, batch_size=2, max_tokens=12, seed=5)
    assert [sample.sample for sample in several] == [0, 1, 2]
    assert len({sample.text for sample in several}) == 3
    assert several[0].text == model.generate(PROMPT, max_tokens=12, seed=5).text


def test_a_stop_text_ends_the_sample_and_is_not_part_of_it(model: gpt2cli.LanguageModel) -> None:
    result = model.generate(PROMPT, temperature=0, stop=["."])
    assert result.finish_reason in ("stop", "length")
    assert "." not in result.text


def test_a_bias_is_a_mapping_from_texts(model: gpt2cli.LanguageModel) -> None:
    assert model.generate(PROMPT, bias={" sea": 100.0}, max_tokens=3, temperature=0).text == " sea sea sea"
    banned = model.generate(PROMPT, bias={" sea": 100.0}, ban=[" sea"], max_tokens=3, temperature=0).text
    assert " sea" not in banned


def test_the_command_line_prints_what_the_library_returns(model: gpt2cli.LanguageModel) -> None:
    command = [
        sys.executable,
        "-m",
        "gpt2cli",
        "generate",
        PROMPT,
        "-m",
        "stories",
        "-n",
        "20",
        "-s",
        "3",
        "-q",
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == model.generate(PROMPT, max_tokens=20, seed=3).text + "\n"


def test_log_probabilities_are_there_if_asked_for(model: gpt2cli.LanguageModel) -> None:
    table = model.generate(PROMPT, max_tokens=4, logprobs=2).logprobs
    assert table is not None
    assert [len(entry) >= 2 for entry in table["top_logprobs"]] == [True] * 4
    assert model.generate(PROMPT, max_tokens=4).logprobs is None


def test_errors_name_parameters_and_come_before_any_work(model: gpt2cli.LanguageModel) -> None:
    with pytest.raises(gpt2cli.UsageError, match=r"`top_p` must be above 0 and at most 1 \(off\), not 2"):
        model.stream(PROMPT, top_p=2)
    with pytest.raises(gpt2cli.Error, match="There is no model named 'poem'"):
        gpt2cli.load("poem")
    with pytest.raises(TypeError, match="temprature"):
        model.generate(PROMPT, temprature=1)  # type: ignore[call-arg]


def test_a_model_says_in_one_line_what_it_is(model: gpt2cli.LanguageModel) -> None:
    assert repr(model).startswith("LanguageModel('stories', ")


def test_a_tokenizer_needs_no_weights(model: gpt2cli.LanguageModel) -> None:
    assert gpt2cli.tokenizer("gpt2").encode("Hello world") == [15496, 995]
    assert gpt2cli.tokenizer("stories").encode("Hello") == model.tokenizer.encode("Hello")


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, model: gpt2cli.LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    for piece in model.stream("Once upon a time", max_tokens=60, seed=7):
        print(piece, end="")
    assert len(capsys.readouterr().out.split()) > 20
    rows = model.score("The cat sat.", unit="bits", by="word")
    assert [row.text for row in rows] == ["The", "cat", "sat."]  # type: ignore[union-attr]
    likeliest = model.next("The cat sat on the", top=5)
    assert len(likeliest) == 5
    text, probability = likeliest[0]
    assert (text[:1], 0 < probability < 1) == (" ", True)


@pytest.mark.parametrize("by", ["token", "word"])
def test_rows_have_a_text_a_place_and_numbers(
    model: gpt2cli.LanguageModel, by: Literal["token", "word"]
) -> None:
    text = "The cat sat on the moon."
    rows = model.score(text, by=by)
    for row in rows:
        values = asdict(row)
        assert text[values["start"] : values["end"]].strip() == values["text"].strip()
        assert values["surprisal"] > 0 < values["entropy"]
        assert by == "word" or values["rank"] >= 1


def test_scores_are_those_of_the_command_line(model: gpt2cli.LanguageModel) -> None:
    text = "The cat sat on the moon."
    command = [sys.executable, "-m", "gpt2cli", "score", "-m", "stories", "-q", "--json", "--text", text]
    printed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    rows = [asdict(row) for row in model.score(text)]
    assert [row["surprisal"] for row in printed["rows"]] == pytest.approx(
        [row["surprisal"] for row in rows], abs=1e-6
    )


def test_candidates_are_ranked_by_probability(model: gpt2cli.LanguageModel) -> None:
    ranked = model.next("The cat sat on the", candidates=[" moon", " floor"])
    assert [entry.text for entry in ranked] == [" floor", " moon"]
    assert ranked[0].probability > ranked[1].probability


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_rows_make_a_table_with_one_call(model: gpt2cli.LanguageModel, library: str) -> None:
    frames = pytest.importorskip(library)
    table = frames.DataFrame(model.score("The cat sat.", by="word"))
    assert list(table["text"]) == ["The", "cat", "sat."]
    assert {"surprisal", "entropy", "start", "end"} <= set(table.columns)


@needs_kernels
def test_a_model_can_be_loaded_in_8_bits() -> None:
    model = gpt2cli.load("stories", quantize="int8", threads=1, offline=True)
    assert repr(model) == "LanguageModel('stories', compiled, cpu, int8)"
    assert len(model.generate(PROMPT, max_tokens=5, temperature=0).token_ids) == 5


def test_a_model_exported_from_python_is_loaded_by_its_path(
    tmp_path: Path, model: gpt2cli.LanguageModel
) -> None:
    path = gpt2cli.export("stories", tmp_path / "stories.gguf", type="f16")
    again = gpt2cli.load(str(path)).generate(PROMPT, max_tokens=12, temperature=0)
    assert again.text == model.generate(PROMPT, max_tokens=12, temperature=0).text
    with pytest.raises(gpt2cli.UsageError, match=r"is there already\. `force` replaces it"):
        gpt2cli.export("stories", path)


def test_a_model_trained_from_python_is_loaded_by_its_folder(tmp_path: Path) -> None:
    poems = tmp_path / "poems.txt"
    poems.write_text("Roses are red, violets are blue.\n" * 200)
    result = gpt2cli.train(
        poems, output=tmp_path / "poet", layers=1, heads=1, width=16, context=16, vocab=300, steps=4
    )
    assert (result.steps, result.outcome) == (4, "finished")
    assert gpt2cli.load(str(result.folder)).generate("Roses", max_tokens=3).finish_reason == "length"


def test_line_ends_and_special_tokens_are_read_as_at_the_command_line(model: gpt2cli.LanguageModel) -> None:
    lf, crlf = model.score("One\nTwo"), model.score("One\r\nTwo", newlines="lf")
    assert [row.surprisal for row in crlf] == [row.surprisal for row in lf]
    assert (lf[-1].end, crlf[-1].end) == (7, 8)
    assert len(model.score("One\r\nTwo")) > len(lf)
    assert len(model.score("<|endoftext|>", special=True)) == 1 < len(model.score("<|endoftext|>"))
    assert model.next("One<|endoftext|>", special=True) != model.next("One<|endoftext|>")
    with pytest.raises(gpt2cli.UsageError, match="`newlines` must be keep or lf, not 'crlf'"):
        model.score("One", newlines="crlf")  # type: ignore[arg-type]
