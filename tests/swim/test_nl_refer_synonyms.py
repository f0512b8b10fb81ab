"""The synonym variant differs inside its tags and nowhere else."""

import re
from typing import Any

import pytest
from videorefer_rows import TRACK, row, values

from swim.data.nl_refer import synonyms
from swim.data.types import DataError


def rewritten(*texts: str) -> dict[str, Any]:
    tags = sum(text.count("<ins>") for text in texts)
    return row(*texts, annotation=[TRACK] * tags, index="videorefer_detailed_caption_0")


ROW = rewritten(
    "<video>\nSee the <ins>dog</ins> and the <ins>Women</ins>?", "The dog sits.", "A <ins>rug</ins>?", "A rug."
)


def test_only_the_tagged_words_change() -> None:
    chosen = synonyms.from_table(ROW, file="a.json", number=0)
    assert chosen == ("hound", "Ladies", "carpet")
    done = synonyms.replace(ROW, chosen, file="a.json", number=0)
    assert synonyms.nouns(done) == list(chosen)
    for before, after in zip(values(ROW), values(done), strict=True):
        assert re.sub("<ins>.*?</ins>", "@", before) == re.sub("<ins>.*?</ins>", "@", after)
    changed = {"conversations"}
    assert {k: v for k, v in ROW.items() if k not in changed} == {k: v for k, v in done.items() if k not in changed}
    assert values(ROW)[0].count("dog") == 1


def test_plurals_and_second_choices_are_found() -> None:
    several = rewritten("The <ins>dogs</ins> beside the hounds and two <ins>toddlers</ins>?", "A.")
    assert synonyms.from_table(several, file="a.json", number=0) == ("canines", "tots")


@pytest.mark.parametrize(
    ("question", "chosen", "reason"),
    [
        ("The <ins>dog</ins>?", ["dog"], "the same word"),
        ("The <ins>dog</ins>?", ["big dog"], "not one word"),
        ("The <ins>dog</ins>?", ["</ins>"], "not one word"),
        ("The <ins>dog</ins> and a hound?", ["Hound"], "already in the sentence"),
        ("A <ins>dog</ins>?", ["animal"], "'A' before the synonym 'animal' would be wrong"),
        ("See an <ins>automobile</ins>?", ["car"], "'an' before the synonym"),
        ("The <ins>dog</ins>?", ["hound", "cat"], "2 synonyms for 1 tags"),
    ],
)
def test_a_synonym_that_would_break_the_row_is_refused(question: str, chosen: list[str], reason: str) -> None:
    with pytest.raises(DataError, match=reason) as error:
        synonyms.replace(rewritten(question, "A."), chosen, file="a.json", number=9)
    assert (error.value.file, error.value.row, error.value.field) == ("a.json", 9, "conversations[0].value")


@pytest.mark.parametrize("question", ["The <ins>quokka</ins>?", "An <ins>insect</ins> or a <ins>dog</ins>?"])
def test_a_noun_the_table_lacks_is_refused(question: str) -> None:
    with pytest.raises(DataError, match=r"no synonym for '(quokka|insect)'"):
        synonyms.from_table(rewritten(question, "A."), file="a.json", number=0)


def test_the_table_is_usable() -> None:
    for noun, choices in synonyms.SYNONYMS.items():
        assert choices
        for word in choices:
            assert re.fullmatch(r"[a-z]+(-[a-z]+)*", word), word
            assert word != noun
