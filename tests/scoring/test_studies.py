"""Studies: items with contexts and columns, regions, questions, and the pairs of other tools."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import save_checkpoint, save_model_folder
from conftest import Gpt2

import gpt2cli
from gpt2cli.errors import InputError, UsageError
from gpt2cli.scoring.pairs.formats import parse
from gpt2cli.scoring.pairs.records import compared_records
from gpt2cli.scoring.pairs.suites import Suite
from gpt2cli.scoring.settings import ItemBy, NextSettings, ScoringSettings
from gpt2cli.scoring.studies.item_scores import ItemScores
from gpt2cli.scoring.studies.items import Item, ItemColumns, items_of, marked_item, parse_span
from gpt2cli.scoring.studies.questions import Question, answers, means, questions_of
from gpt2cli.scoring.text_scorer import open_scoring
from gpt2cli.scoring.words import is_punctuation
from gpt2cli.text.reading.tables import read_table

CONTEXT = "Żółw and the test"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a study")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    return save_model_folder(folder, n_positions=96)


@pytest.fixture(scope="module")
def model(folder: Path, reference: Any) -> gpt2cli.LanguageModel:
    return gpt2cli.load(str(folder), device="cpu", threads=1)


def scores(
    model: gpt2cli.LanguageModel, items: Sequence[Item], by: ItemBy, **settings: Any
) -> list[dict[str, Any]]:
    opened = ItemScores(open_scoring(model, ScoringSettings(**settings)), by)
    return [dict(record) for record in opened.records(items)]


# Tables


def test_a_table_is_read_by_its_name_or_by_its_first_line() -> None:
    expected = [{"a": "1", "b": "x, y"}]
    assert read_table('a,b\n1,"x, y"\n', "t.csv").rows == expected
    assert read_table("a\tb\r\n1\tx, y\r\n\r\n", "-").rows == expected
    assert read_table('{"a": "1", "b": "x, y"}\n', "-").rows == expected
    sparse = read_table('{"a": 1}\n{"b": null}\n', "t.jsonl")
    assert (sparse.columns, sparse.rows[1]) == (["a", "b"], {"a": None, "b": None})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a,b\n1\n", r"t.csv, line 2: 1 cells under a header of 2"),
        ("a,a\n", "two columns 'a'"),
        ('a\n"x', r"t.csv, line \d: unexpected end"),
        ("b\n1\n", "t.csv has no column 'a', only 'b'"),
        ("", "t.csv has no column 'a', only nothing"),
    ],
)
def test_a_damaged_table_is_refused(content: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        list(read_table(content, "t.csv").texts("a"))


# Contexts


@pytest.mark.parametrize(
    ("context", "text", "joined"),
    [("One", "two", " "), ("One ", "two", ""), ("One", " two", ""), ("", "two", "")],
)
def test_a_space_joins_context_and_text_where_there_is_none(context: str, text: str, joined: str) -> None:
    assert Item(text, context).before == context + joined


@pytest.mark.parametrize("by", ["token", "word"])
@pytest.mark.parametrize("context", [CONTEXT, f"{CONTEXT} ", f"{CONTEXT}\n"])
def test_a_context_is_read_and_not_scored(model: gpt2cli.LanguageModel, by: Any, context: str) -> None:
    text = "of a model, żółw."
    found = scores(model, [Item(text, context)], by)
    item = Item(text, context)
    whole = model.score(item.before + text, by=by)
    tail = whole[len(whole) - len(found) :]
    assert [record["surprisal"] for record in found] == [row.surprisal for row in tail]
    assert [record["index"] for record in found] == list(range(1, len(found) + 1))
    kept = len(item.before.rstrip())
    assert {row.start < kept for row in tail} == {False} == {row.start >= kept for row in whole[: -len(tail)]}
    for record in found:
        own = text.encode()[record["byte_start"] : record["byte_end"]]
        assert own.strip() in record[by].encode() or record[by].startswith("bytes:")
        assert (
            text[record["start"] : record["end"]].strip() == own.decode("utf-8", "replace").strip()
            or by == "token"
        )


def test_documents_in_a_context_sum_their_own_tokens(model: gpt2cli.LanguageModel) -> None:
    items = [Item("of a model.", CONTEXT), Item("of a model.")]
    sums = [record["surprisal"] for record in scores(model, items, "document")]
    for item, total in zip(items, sums, strict=True):
        tokens = scores(model, [item], "token")
        assert sum(record["surprisal"] for record in tokens) == pytest.approx(total)
    assert sums[0] != sums[1]


# Columns


def test_rows_carry_the_columns_of_their_item(model: gpt2cli.LanguageModel) -> None:
    table = read_table('{"id": 7, "word": "w", "s": "a test", "c": "of it"}\n{"s": "b", "c": ""}\n', "-")
    items = list(items_of(table, ItemColumns("s", "c"), "Once"))
    assert [item.context for item in items] == ["Once of it", "Once"]
    opened = ItemScores(open_scoring(model, ScoringSettings()), "word")
    names = opened.columns(table.columns)
    assert names[:5] == ["id", "item_word", "s", "c", "index"]
    rows = list(opened.records(items))
    assert [(row["id"], row["item_word"], row["word"]) for row in rows] == [
        (7, "w", "a"),
        (7, "w", "test"),
        (None, None, "b"),
    ]


def test_rows_of_words_get_the_score_of_their_word(model: gpt2cli.LanguageModel) -> None:
    table = read_table("text,w,rt\n1,One,10\n2,Other,20\n1,word.,30\n", "-")
    items = list(items_of(table, ItemColumns("w", group="text")))
    assert [item.text for item in items] == ["One word.", "Other"]
    found = scores(model, items, "word")
    assert [(row["rt"], row["w"], row["word"]) for row in found] == [
        ("10", "One", "One"),
        ("30", "word.", "word."),
        ("20", "Other", "Other"),
    ]
    assert [row["surprisal"] for row in found[:2]] == [
        row.surprisal for row in model.score("One word.", by="word")
    ]
    with pytest.raises(InputError, match="row 1: 'a b' is not one word"):
        list(items_of(read_table("text,w\n1,a b\n", "-"), ItemColumns("w", group="text")))


# Regions


def test_regions_are_sums_of_words_and_spans_are_regions(model: gpt2cli.LanguageModel) -> None:
    text = "The model [np a test] is [odd]."
    item = marked_item(text, "", {}, True)
    assert item.text == "The model a test is odd."
    first, second = scores(model, [item], "region")
    words = {row["word"]: row["surprisal"] for row in scores(model, [item], "word")}
    assert first["surprisal"] == pytest.approx(words["a"] + words["test"])
    assert (first["label"], first["text"], item.text[first["start"] : first["end"]]) == (
        "np",
        "a test",
        "a test",
    )
    table = read_table(f"s,from,to\n{item.text},{second['start'] - 1},{second['end']}\n", "-")
    (spanned,) = scores(model, items_of_span(table, "from:to"), "region")
    assert spanned["surprisal"] == second["surprisal"]
    with pytest.raises(InputError, match="row 1: 3 to 99 is no part of a text of 24 characters"):
        items_of_span(table, "3:99")
    with pytest.raises(InputError, match=r"'s' is 'The model a test is odd\.', no number"):
        items_of_span(table, "s:5")
    with pytest.raises(UsageError, match="'5' is not START:END"):
        parse_span("5")


def items_of_span(table: Any, span: str) -> list[Item]:
    return list(items_of(table, ItemColumns("s", span=parse_span(span))))


def test_a_region_that_cuts_a_token_is_refused_by_its_place(model: gpt2cli.LanguageModel) -> None:
    spelled = map(model.tokenizer.token_bytes, model.tokenizer.encode("and the rest"))
    token = next(data.decode().strip() for data in spelled if len(data.strip()) > 1)
    with pytest.raises(UsageError, match=f"the text: a region begins or ends within the token '{token}'"):
        scores(
            model,
            [marked_item("and the rest".replace(token, f"{token[0]}[{token[1:]}]", 1), "", {}, True)],
            "region",
        )


def test_punctuation_apart_divides_the_same_surprisal(model: gpt2cli.LanguageModel) -> None:
    text = 'He said "go on!" (twice), then.'
    together = scores(model, [Item(text)], "word")
    apart = scores(model, [Item(text)], "word", punctuation="apart")
    expected = ["He", "said", '"', "go", "on", '!"', "(", "twice", "),", "then", "."]
    assert [row["word"] for row in apart] == expected
    assert {row["surprisal_corrected"] for row in apart} == {None}
    assert sum(row["surprisal"] for row in apart) == pytest.approx(sum(row["surprisal"] for row in together))
    assert [is_punctuation(data) for data in (b" .", "…".encode(), b"'s", b" ", b"a.")] == [
        True,
        True,
        False,
        False,
        False,
    ]


# Pairs of other tools


def test_the_verdict_of_blimp_compares_whole_sentences(model: gpt2cli.LanguageModel) -> None:
    pairs = [("The test is.", "The test are."), ("a model", "of the from")]
    lines = "".join(
        json.dumps({"sentence_good": good, "sentence_bad": bad, "UID": "u", "pairID": str(number)}) + "\n"
        for number, (good, bad) in enumerate(pairs)
    )
    rows = compared_records(open_scoring(model, ScoringSettings()), parse(lines, "x"), lambda *_: None, True)
    assert [row["item"] for row in rows.records] == ["u:0", "u:1", "mean"]
    for row, pair in zip(rows.records, pairs, strict=False):
        good, bad = (model.score(text, by="document")[0] for text in pair)
        assert row["correct"] == int(good.surprisal < bad.surprisal)  # type: ignore[operator]
    listed = parse(lines.replace('"u"', "[]"), "x")
    assert isinstance(listed, list)
    assert compared_records(open_scoring(model, ScoringSettings()), listed, lambda *_: None, False).means[
        "contrasts"
    ]
    with pytest.raises(InputError, match="item u:0 is there twice"):
        parse(lines + lines, "x")
    with pytest.raises(InputError, match="x, line 2: a pair needs"):
        parse(lines.split("\n")[0] + '\n{"a": 1}\n', "x")


def suite_of(*formulas: str) -> dict[str, Any]:
    def region(number: int, content: str) -> dict[str, Any]:
        return {"region_number": number, "content": content}

    return {
        "meta": {"name": "n", "metric": "sum"},
        "predictions": [{"type": "formula", "formula": formula} for formula in formulas],
        "items": [
            {
                "item_number": 1,
                "conditions": [
                    {
                        "condition_name": "a",
                        "regions": [region(1, "The test"), region(2, "is"), region(3, "")],
                    },
                    {
                        "condition_name": "b-c",
                        "regions": [region(1, "The test"), region(2, "are"), region(3, "")],
                    },
                ],
            }
        ],
    }


def test_a_prediction_of_syntaxgym_is_its_formula_of_the_regions(model: gpt2cli.LanguageModel) -> None:
    values: dict[str, float] = {}
    for name, text in {"a": "The test is", "b": "The test are"}.items():
        words = [row.surprisal or 0.0 for row in model.score(text, by="word")]
        values |= {f"{name}1": words[0] + words[1], f"{name}2": words[2]}
    a1, a2, b1, b2 = (values[name] for name in ("a1", "a2", "b1", "b2"))
    cases = {
        "(2;%a%) < (2;%b-c%)": a2 < b2,
        "(2;%a%) > (2;%b-c%)": a2 > b2,
        "(1;%a%) = (1;%b-c%)": True,
        "(3;%a%) = 0 & (2;%a%) > 0": True,
        "[(*;%a%) - (1;%a%)] = (2;%a%)": True,
        # As in its grammar, + binds more tightly than -.
        "(1;%a%) - (2;%a%) + (2;%a%) < (1;%a%)": a1 - (a2 + a2) < a1,
        "((2;%a%) + 1.5) > ((2;%a%) + 1) & (2;%a%) > 1000000": False,
        "(1;%b-c%) > 100 | (1;%b-c%) < 100": b1 != 100,
    }
    suite = parse(json.dumps(suite_of(*cases)), "x")
    assert isinstance(suite, Suite)
    rows = compared_records(open_scoring(model, ScoringSettings(unit="nats")), suite, lambda *_: None, False)
    assert {row["formula"]: bool(row["correct"]) for row in rows.records} == cases
    assert rows.means["predictions"][0] == {
        "item": "mean",
        "prediction": 1,
        "formula": next(iter(cases)),
        "correct": float(a2 < b2),
    }


@pytest.mark.parametrize("formula", ["(1;%a%) >", "1 2", "(1;%a%", "x > 1", ") > 1", "(" * 5000])
def test_what_is_no_formula_is_refused(formula: str) -> None:
    with pytest.raises(InputError, match="rediction"):
        parse(json.dumps(suite_of(formula)), "x")


def test_a_prediction_about_a_missing_region_is_refused(model: gpt2cli.LanguageModel) -> None:
    suite = parse(json.dumps(suite_of("(9;%a%) > 0")), "x")
    with pytest.raises(InputError, match="Item 1 lacks what"):
        compared_records(open_scoring(model, ScoringSettings()), suite, lambda *_: None, False)
    suite = parse(json.dumps(suite_of(f"1{'+1' * 5000}")), "x")
    with pytest.raises(InputError, match="has too many parts"):
        compared_records(open_scoring(model, ScoringSettings()), suite, lambda *_: None, False)


def test_a_word_that_is_half_a_surrogate_pair_is_refused(model: gpt2cli.LanguageModel) -> None:
    table = read_table(r'{"g": 1, "w": "\ud800"}', "t.jsonl")
    with pytest.raises(InputError, match="surrogate"):
        scores(model, list(items_of(table, ItemColumns("w", group="g"))), "word")


LONG = "x" * 5000


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"t": "a", "from": LONG}, ItemColumns("t", span=("from", "1"))),
        ({"t": "a", "from": 10**4000}, ItemColumns("t", span=("from", "1"))),
        ({"t": f"{LONG} y", "g": 1}, ItemColumns("t", group="g")),
    ],
)
def test_a_refusal_quotes_the_beginning_of_a_long_value(row: dict[str, Any], columns: ItemColumns) -> None:
    with pytest.raises(InputError) as caught:
        list(items_of(read_table(json.dumps(row), "t.jsonl"), columns))
    assert re.search(r"x{50}\.\.\.|0{50}\.\.\.", str(caught.value))
    assert len(str(caught.value)) < 200


# Questions


def lm_eval_logprob(model: gpt2cli.LanguageModel, reference: Any, context: str, continuation: str) -> float:
    """Return a log-probability as lm-evaluation-harness computes it, in nats."""
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, continuation = context[:-spaces], context[-spaces:] + continuation
    whole = model.tokenizer.encode(context + continuation)
    before = model.tokenizer.encode(context)
    with torch.no_grad():
        table = torch.log_softmax(reference(torch.tensor([whole])).logits[0], -1)
    return float(sum(table[place - 1, whole[place]] for place in range(len(before), len(whole))))


def test_multiple_choice_is_counted_as_lm_eval_does(model: gpt2cli.LanguageModel, reference: Any) -> None:
    questions = [
        Question("The test of", ["a model", "there", "o"], 1),
        Question("The rest is  ", ["from the tests", "it"], 0),
    ]
    found = list(answers(model, questions, NextSettings(unit="nats"), "lm-eval"))
    for answer in found:
        question = answer.question
        expected = [
            lm_eval_logprob(model, reference, question.context, f" {text}") for text in question.candidates
        ]
        assert [row.surprisal for row in answer.rows] == pytest.approx(
            [-value for value in expected], abs=1e-3
        )
        by_length = [value / len(text) for value, text in zip(expected, question.candidates, strict=True)]
        assert answer.acc == float(max(expected) == expected[question.label or 0])
        assert answer.acc_norm == float(max(by_length) == by_length[question.label or 0])
    counted = means(found)
    assert counted["items"] == 2
    assert counted["acc"] == sum(answer.acc or 0 for answer in found) / 2


def test_candidates_without_a_protocol_are_read_as_they_are_spelled(model: gpt2cli.LanguageModel) -> None:
    (answer,) = answers(model, [Question("The test", [" is", "s", " is"])], NextSettings())
    alone = {entry.text: entry.probability for entry in model.next("The test", candidates=[" is", "s"])}
    expected = [alone[" is"], alone["s"], alone[" is"]]
    assert [row.probability for row in answer.rows] == pytest.approx(expected)
    assert (answer.acc, means([answer])) == (None, {"items": 0, "acc": None, "acc_norm": None})
    assert math.isclose(answer.rows[0].surprisal, -math.log2(alone[" is"]))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"context": "a", "candidates": "b"}', "row 1: 'candidates' is no list of texts"),
        ('{"context": "a", "candidates": []}', "row 1: 'candidates' is no list of texts"),
        ('{"context": 3, "candidates": ["b"]}', "row 1: 'context' is no text"),
        (
            '{"context": "a", "candidates": ["b"], "label": 1}',
            "row 1: 'label' is 1, no index of 1 candidates",
        ),
        ('{"context": "a", "candidates": ["b"], "label": 1e999}', "row 1: 'label' is inf, no index"),
        (
            json.dumps({"context": "a", "candidates": ["b"], "label": "x" * 5000}),
            r"row 1: 'label' is 'x+\.\.\., no",
        ),
        ('{"context": "a"}', "no column 'continuation'"),
    ],
)
def test_what_is_no_question_is_refused(row: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        list(questions_of(read_table(row, "t")))


# At the command line


@pytest.mark.slow
def test_several_models_make_one_long_table(gpt2: Gpt2, folder: Path, model: Any, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_model_folder(other)
    save_checkpoint(other, seed=3, vocab_size=320)
    items = tmp_path / "items.csv"
    items.write_text("id,s\n1,a test\n2,\n3,the rest\n")
    words = ["score", items, "--field", "s", "--by", "word", "--context", "of", "-q"]
    both = gpt2(*words, "-m", folder, "-m", other)
    assert both.returncode == 0, both.stderr
    header, *rows = (line.split("\t") for line in both.stdout.decode().splitlines())
    column = header.index("model")
    assert [row[column] for row in rows] == [str(folder)] * 4 + [str(other)] * 4
    assert [row[0] for row in rows] == ["1", "1", "3", "3"] * 2
    # A path with a space in it is one model.
    alone = gpt2(*words, env={"GPT2_MODEL": str(folder)}).stdout.decode().splitlines()
    assert alone == both.stdout.decode().splitlines()[:5]
    table = json.loads(gpt2(*words, "-m", folder, "-m", other, "--json").stdout)
    assert (table["models"], len(table["rows"]), table["rows"][7]["model"]) == (2, 8, str(other))


@pytest.mark.slow
def test_pairs_are_judged_by_several_models(gpt2: Gpt2, folder: Path, model: Any) -> None:
    pairs = b"1\ta\tThe test is.\n1\tb\tThe test are.\n"
    alone = json.loads(gpt2("score", "--pairs", "-", "-m", folder, "--json", stdin=pairs).stdout)
    twice = json.loads(
        gpt2("score", "--pairs", "-", "-m", folder, "-m", folder, "--json", stdin=pairs).stdout
    )
    assert [row["difference"] for row in twice["rows"]] == [alone["rows"][0]["difference"]] * 2
    assert [mean["model"] for mean in twice["contrasts"]] == [str(folder)] * 2
    refused = gpt2("score", "--pairs", "-", "--field", "x", "-m", folder, stdin=pairs)
    assert (refused.returncode, refused.stderr) == (2, b"Error: --field and --pairs exclude each other.\n")


@pytest.mark.slow
def test_questions_are_answered_in_one_process(gpt2: Gpt2, folder: Path, model: Any) -> None:
    lines = b'{"id": "q", "context": "The test", "candidates": [" is", " are"], "label": 0}\n'
    done = gpt2("next", "--items", "-", "-m", folder, "--json", stdin=lines)
    printed = json.loads(done.stdout)
    assert [row["candidate"] for row in printed["rows"]] == [0, 1]
    assert printed["means"][0]["items"] == 1
    assert done.stderr.startswith(b"acc ")
    refused = gpt2("next", "--items", "-", "text", "-m", folder, stdin=lines)
    assert refused.returncode == 2
