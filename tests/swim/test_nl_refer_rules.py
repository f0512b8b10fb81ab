"""The rules: the subject of plain English descriptions, and a reason where they cannot tell."""

import pytest
from videorefer_rows import row

from swim.data.nl_refer import rules, words
from swim.data.nl_refer.tasks import read_task
from swim.data.types import DataError


@pytest.mark.parametrize(
    ("answer", "expression", "noun"),
    [
        ("The brown dog runs across a lawn.", "the brown dog", "dog"),
        ("The fawn and white dog has a dark face. It sits.", "the fawn and white dog", "dog"),
        ("A man in a black cap stands near the door.", "the man", "man"),
        ("Yes, the man in the black cap stands at the right.", "the man", "man"),
        ("In the video, a young woman wearing a red dress dances.", "the young woman", "woman"),
        ("There is a small, brown dog on the grass.", "the small, brown dog", "dog"),
        ("This is a wooden chair.", "the wooden chair", "chair"),
        ("The video shows a black cat lying on a sofa.", "the black cat", "cat"),
        ("The object in the video is a red balloon.", "the red balloon", "balloon"),
        ("A group of people walk down the street.", "the group of people", "people"),
        ("A pair of black shoes lies on the floor.", "the pair of black shoes", "shoes"),
        ("A fawn stands in the forest.", "the fawn", "fawn"),
        ("The orange lies on a table.", "the orange", "orange"),
        ("Two dogs play.", "the two dogs", "dogs"),
        ("The brown dogs run.", "the brown dogs", "dogs"),
        ("A tawny spotted dog sits.", "the tawny spotted dog", "dog"),
        ("A black-and-white cat sits.", "the black-and-white cat", "cat"),
        ("The building stands tall.", "the building", "building"),
        ("The man's left hand holds a pen.", "the man's left hand", "hand"),
        ("The white bus stops at the station.", "the white bus", "bus"),
        ("The elderly man slowly walks.", "the elderly man", "man"),
        ("A person holding a camera walks.", "the person", "person"),
        ("He is tall. The thin man walks.", "the thin man", "man"),
        ("The small lemon is striped and moves left.", "the small lemon", "lemon"),
    ],
)
def test_the_subject_is_found(answer: str, expression: str, noun: str) -> None:
    found = rules.subject(answer)
    assert (found.short, found.noun) == (expression, noun)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("It runs. It stops.", "pronoun 'It'"),
        ("His dog runs.", "pronoun 'His'"),
        ("A man and a woman walk.", "names several things"),
        ("The traffic lights change.", "'lights' may be a noun or a verb"),
        ("The dog zooms around.", "'zooms' may be a noun or a verb"),
        ("John walks.", "no article"),
        ("Running.", "no article"),
        ("The video is dark.", "does not say that it shows"),
        ("The image shows an object.", "'object' does not say"),
        ("The red.", "no noun before"),
        ("On the left.", "no article"),
        ("...", "no article"),
    ],
)
def test_two_readings_or_none_are_refused(answer: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as error:
        rules.referents(read_task(row("<region>?", answer), file="a.json", row=0))
    assert error.value.field == "conversations[1].value"


def test_each_turn_names_its_own_object() -> None:
    task = read_task(row("<region>?", "A dog runs.", "And <region>?", "A cat sits."), file="a.json", row=0)
    assert [r.expression for r in rules.referents(task)] == ["the dog", "the cat"]


def test_equal_names_are_told_apart_by_what_follows_them() -> None:
    task = read_task(
        row("<region>?", "A man in a black cap stands.", "And <region>?", "The man wearing a hat sings."),
        file="a.json",
        row=0,
    )
    assert [(r.expression, r.noun) for r in rules.referents(task)] == [
        ("the man in a black cap", "man"),
        ("the man wearing a hat", "man"),
    ]
    with pytest.raises(DataError, match="one phrase fits several objects"):
        rules.referents(read_task(row("<region>?", "A man sits.", "<region>?", "The man runs."), file="a.json", row=0))


def test_two_objects_in_one_question_are_refused() -> None:
    with pytest.raises(DataError, match="several objects in one question"):
        rules.referents(read_task(row("<region> or <region>?", "A dog and a cat sit."), file="a.json", row=0))


def test_the_word_lists_agree_with_each_other() -> None:
    assert words.NOUN_ADJECTIVES <= words.ADJECTIVES
    assert not words.ADJECTIVES & words.NOUNS
    assert not words.AUXILIARIES & (words.STOPS | words.DETERMINERS)
    assert not words.CONTAINERS & words.FRAMES
