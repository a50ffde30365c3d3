"""Minimal pairs: reading a file, assigning tokens to regions, and comparing conditions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from gpt2_tokenizer import TOKENIZER

from gpt2cli.errors import UsageError
from gpt2cli.scoring.pairs.comparison import (
    Contrast,
    RegionScore,
    contrast_rows,
    contrasts,
    region_scores,
)
from gpt2cli.scoring.pairs.sentences import Sentence, missing_conditions, parse_pairs
from gpt2cli.scoring.scored_text import ScoredToken, scored_tokens


def only_sentence(marked: str) -> Sentence:
    first, _ = parse_pairs(f"1\ta\t{marked}\n1\tb\t{marked}\n", "pairs")
    return first


def tokens_of(sentence: Sentence, unscored: int = 0) -> list[ScoredToken]:
    """Return tokens whose surprisal, in nats, is their place counted from 1."""
    content = sentence.text.content
    plain = scored_tokens(sentence.text, TOKENIZER.encode(content), [], TOKENIZER)
    return [
        ScoredToken(
            **{**vars(token), "logprob": None if token.index <= unscored else -float(token.index)},
        )
        for token in plain
    ]


def surprisals(marked: str, unscored: int = 0) -> list[float | None]:
    sentence = only_sentence(marked)
    return [score.surprisal for score in region_scores(sentence, tokens_of(sentence, unscored), "nats")]


def score(item: str, condition: str, surprisal: float | None, region: int = 1) -> RegionScore:
    return RegionScore(item, condition, region, "text", surprisal)


def test_brackets_mark_regions_and_are_no_part_of_the_text() -> None:
    sentence = only_sentence("The [key] to [ the old ] box.")
    content = sentence.text.content
    assert content == "The key to  the old  box."
    assert [content[start:end] for start, end in sentence.regions] == ["key", "the old"]
    whole = only_sentence("The key.")
    assert whole.regions == ((0, 8),)


def test_a_region_is_the_sum_of_its_tokens_with_the_space_before_them() -> None:
    # The, key, to, the, cabinets, are, on, the, table and a full stop have the places from 1 to 10.
    assert surprisals("The [key] to the cabinets [are on] the table.") == [2.0, 13.0]
    assert surprisals("The key to the cabinets are on the [table].") == [9.0]
    assert surprisals("[The] key") == [1.0]
    # Of three spaces the first two are tokens of their own.
    assert surprisals("The   [key] to") == [2.0 + 3.0 + 4.0]
    assert surprisals("The key to") == [6.0]


def test_the_first_token_without_context_counts_only_where_all_is_one_region() -> None:
    assert surprisals("The key to", unscored=1) == [5.0]
    assert surprisals("[The key to]", unscored=1) == [5.0]
    assert surprisals("[The key] to", unscored=1) == [None]
    assert surprisals("The [key] to", unscored=1) == [2.0]
    assert surprisals("The", unscored=1) == [None]


def test_a_split_character_is_whole_in_its_region() -> None:
    sentence = only_sentence("so [👍] it")
    (found,) = region_scores(sentence, tokens_of(sentence), "nats")
    assert found.text == "👍"
    assert found.surprisal == 2.0 + 3.0


def test_a_region_within_a_token_is_refused() -> None:
    sentence = only_sentence("so [un]happy")
    with pytest.raises(UsageError, match="Line 1: a region begins or ends within the token 'unhappy'"):
        list(region_scores(sentence, tokens_of(sentence), "nats"))


@pytest.mark.parametrize("header", ["", "item\tcondition\ttext\n", "Item\tCondition\tText\r\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_header_empty_lines_and_quotes_of_tables_are_understood(header: str, end: str) -> None:
    lines = ['1\ta\t"She said ""no"" twice"', "", '1\tb\t"No," she said.', '2\ta\t"Yes', "2\tb\tYes"]
    sentences = parse_pairs(header + end.join(lines) + end, "pairs")
    assert [sentence.text.content for sentence in sentences] == [
        'She said "no" twice',
        '"No," she said.',
        '"Yes',
        "Yes",
    ]
    assert [sentence.condition for sentence in sentences] == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\ta\n", "pairs, line 1: 2 columns"),
        ("1\ta\tx\ty\n", "pairs, line 1: 4 columns"),
        ("1\ta\tx\n1\ta\ty\n", "line 2: item 1 has condition a twice"),
        ("1\ta\tx [y\n", "line 1: a bracket has no counterpart"),
        ("1\ta\tx [[y]]\n", "line 1: a bracket has no counterpart"),
        ("1\ta\tx [ ]\n", "line 1: a region is empty"),
        ("1\ta\t\n", "line 1: the text is empty"),
        ("1\ta\tx\n2\tb\ty\n", "no item has two conditions"),
        ("", "no item has two conditions"),
        ("1\ta\t[x] [y]\n1\tb\t[x] y\n", "item 1 has 2 regions in line 1 and 1 in line 2"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line(content: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        parse_pairs(content, "pairs")


def test_each_two_conditions_of_an_item_are_compared_in_their_first_order() -> None:
    scores = [
        *(score("1", "good", 2.0), score("1", "bad", 5.0), score("1", "worse", 9.0)),
        *(score("2", "worse", 1.0), score("2", "good", 4.0)),
    ]
    rows = contrast_rows(scores)
    compared = [(row.item, row.condition_1, row.condition_2, row.difference, row.correct) for row in rows]
    assert compared == [
        ("1", "good", "bad", 3.0, True),
        ("1", "good", "worse", 7.0, True),
        ("1", "bad", "worse", 4.0, True),
        ("2", "good", "worse", -3.0, False),
    ]


def test_accuracy_is_the_share_of_items_whose_first_condition_is_less_surprising() -> None:
    differences = [1.0, 2.0, -4.0, 0.0]
    scores: list[RegionScore] = []
    for number, difference in enumerate(differences):
        scores += [score(str(number), "a", 5.0), score(str(number), "b", 5.0 + difference)]
    assert contrasts(contrast_rows(scores)) == [Contrast(1, "a", "b", 4, 5.0, 4.75, -0.25, 0.5)]


def test_what_was_not_scored_is_neither_right_nor_wrong() -> None:
    scores = [score("1", "a", None), score("1", "b", 2.0), score("2", "a", 1.0), score("2", "b", 2.0)]
    rows: Sequence[object] = contrast_rows(scores)
    assert (contrast_rows(scores)[0].difference, contrast_rows(scores)[0].correct) == (None, None)
    assert len(rows) == 2
    (found,) = contrasts(contrast_rows(scores))
    assert (found.items, found.accuracy, found.difference) == (2, 1.0, 1.0)


def test_regions_are_compared_one_by_one() -> None:
    scores = [
        score("1", condition, surprisal, region)
        for condition, surprisal, region in (("a", 2.0, 1), ("a", 3.0, 2), ("b", 4.0, 1), ("b", 5.0, 2))
    ]
    assert [(row.region, row.difference) for row in contrast_rows(scores)] == [(1, 2.0), (2, 2.0)]
    assert [found.region for found in contrasts(contrast_rows(scores))] == [1, 2]


@pytest.mark.parametrize(
    ("marked", "content", "label"),
    [
        ("[np The key] is", "The key is", "np"),
        ("[NP-SBJ The key] is", "The key is", "NP-SBJ"),
        ("[np2 The key] is", "The key is", "np2"),
        ("[matrix_verb is] so", "is so", "matrix_verb"),
        ("So [verb: is] it", "So is it", "verb"),
        ("So [ the old man ] is", "So  the old man  is", None),
        ("[Np] is", "Np is", None),
        ("At [10:30 am] it is", "At 10:30 am it is", None),
    ],
)
def test_the_label_of_a_region_is_no_part_of_its_text(marked: str, content: str, label: str | None) -> None:
    sentence = only_sentence(marked)
    assert (sentence.text.content, sentence.labels) == (content, (label,))
    start, end = sentence.regions[0]
    assert content[start:end] in marked
    (found,) = region_scores(sentence, tokens_of(sentence), "nats")
    assert (found.text, found.label) == (content[start:end], label)
    # As without a label.
    bare = marked if label is None else marked.replace(f"{label}: ", "").replace(f"{label} ", "")
    assert surprisals(marked) == surprisals(bare)


def test_labels_stand_in_rows_and_means_and_are_the_same_in_every_condition() -> None:
    sentences = parse_pairs("1\ta\t[np The key] [is] so\n1\tb\t[np The keys] [is] so\n", "pairs")
    rows = contrast_rows(
        found for sentence in sentences for found in region_scores(sentence, tokens_of(sentence), "nats")
    )
    assert [(row.region, row.label) for row in rows] == [(1, "np"), (2, None)]
    assert [(found.region, found.label) for found in contrasts(rows)] == [(1, "np"), (2, None)]
    with pytest.raises(UsageError, match="item 1 has the labels np in line 1 and none in line 2"):
        parse_pairs("1\ta\t[np The key] is\n1\tb\t[The key] is\n", "pairs")


def test_items_that_lack_a_condition_are_counted() -> None:
    whole = "1\ta\tx\n1\tb\ty\n"
    assert missing_conditions(parse_pairs(whole, "pairs")) is None
    one = parse_pairs(whole + "2\ta\tx\n", "pairs")
    assert missing_conditions(one) == "item 2 lacks the condition b"
    more = parse_pairs(whole + "2\tb\tx\n3\ta\tx\n4\tc\tx\n", "pairs")
    assert missing_conditions(more) == "item 1 lacks the condition c, and 3 more items lack one"
