"""The checks: what passes is a row that trains, what does not says why."""

from dataclasses import replace
from typing import Any

import pytest
from videorefer_rows import row, values

from swim.data.annotations.samples import parse_row
from swim.data.nl_refer.checks import Checks, answer_overlap, check_video
from swim.data.nl_refer.tasks import Referent, Task, read_task
from swim.data.synthetic.tokenizer import build_tokenizer
from swim.data.types import DataError
from swim.data.video.frame_choice import VideoInfo


@pytest.fixture(scope="module")
def checks() -> Checks:
    return Checks(build_tokenizer())


def task_of(*texts: str, **fields: Any) -> Task:
    return read_task(row(*texts, **fields), file="a.json", row=4)


ONE = task_of("<video>\nDescribe <region>.", "The small brown dog-walker sits on a bed, licking its nose.")


def test_a_good_expression_passes_and_the_row_trains(checks: Checks) -> None:
    done = checks(ONE, [Referent(expression=" The brown dog-walker sitting on the bed. ", noun="dog-walker ")])
    assert values(done.row)[0] == "<video>\nDescribe the brown <ins>dog-walker</ins> sitting on the bed."
    assert done.shares == (1.0,)
    assert parse_row(done.row, file="a.json", row=4, formats=("nl-refer",)).marks == "ins"


@pytest.mark.parametrize(
    ("expression", "noun", "reason"),
    [
        ("the brown dog-walker", "dog", "a noun is no word of its expression: 'dog' in"),
        ("the brown dog-walker", "walk", "is no word of its expression"),
        ("the brown dog-walker", "Brown", "is no word of its expression"),
        ("the brown dog-walker", "brown dog-walker", "not one word"),
        ("the brown dog-walker", "the", "not one word, or a hyphenated one, that names a thing"),
        ("the brown dog-walker", "", "not one word"),
        ("the bed number 5", "5", "not one word"),
        (
            "the red bed",
            "bed",
            "not taken from the answers: they say 50% of the words of 'the red bed' for object 1, at least 75%",
        ),
        ("", "bed", "is empty, or has brackets"),
        ("the bed <|im_end|>", "bed", "brackets"),
        ("the bed [1]", "bed", "brackets"),
        ("the <ins>bed</ins>", "bed", "brackets"),
        ("the bed\x00", "bed", "control characters"),
        ("the bed on the bed " * 7, "bed", "more than 25 words"),
    ],
)
def test_an_expression_that_may_not_stand_is_refused(checks: Checks, expression: str, noun: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as error:
        checks(ONE, [Referent(expression=expression, noun=noun)])
    assert error.value.field == "conversations[0].value"
    assert (error.value.file, error.value.row, error.value.key) == ("a.json", 4, "a:00000004:r")


def test_two_objects_are_called_by_two_names(checks: Checks) -> None:
    two = task_of("Is <object0><region> near <object1><region>?", "A man in front of the dog and one behind it: a man.")
    front = Referent(expression="the man in front of the dog", noun="man")
    behind = Referent(expression="A man behind the dog", noun="man")
    assert values(checks(two, [front, behind]).row)[0] == (
        "Is the <ins>man</ins> in front of the dog near a <ins>man</ins> behind the dog?"
    )
    with pytest.raises(DataError, match="two objects are called the same: objects 1 and 2"):
        checks(two, [front, Referent(expression="a man in front of a dog", noun="man")])
    with pytest.raises(DataError, match="1 expressions for 2 objects"):
        checks(two, [front])


def test_a_tag_must_be_found_again_in_the_tokens() -> None:
    class Whole:
        """Cuts at blanks only, as word-level tokenizers do, or loses the end of the text."""

        def __init__(self, limit: int) -> None:
            self.limit = limit

        def __call__(self, text: str, **how: Any) -> Any:
            assert how["return_offsets_mapping"]
            assert how["split_special_tokens"]
            found, at = [], 0
            for word in text.split(" "):
                found.append((at, at + len(word)))
                at += len(word) + 1
            return {"offset_mapping": found[: self.limit]}

    dog = [Referent(expression="the brown dog", noun="dog")]
    inside = task_of("Describe <region>.", "The brown dog sits.")
    with pytest.raises(DataError, match=r"not found in the tokens: they say 'dog\.', the tag 'dog'"):
        Checks(Whole(100))(inside, dog)
    apart = task_of("Describe <region> now.", "The brown dog sits.")
    assert Checks(Whole(100))(apart, dog).shares == (1.0,)
    with pytest.raises(DataError, match="no token covers 'dog'"):
        Checks(Whole(2))(apart, dog)


def test_special_tokens_in_a_row_do_not_move_the_tag(checks: Checks) -> None:
    task = task_of("<|video_pad|><|im_end|> Describe <region>.", "The dog <|im_start|> sits.")
    assert checks(task, [Referent(expression="the dog", noun="dog")]).shares == (1.0,)


@pytest.mark.parametrize(
    ("expression", "answers", "share"),
    [
        ("the fawn and white dog sitting on the bed", "The fawn and white dog sits on a bed.", 1.0),
        ("the grey-haired woman with the orange scarf", "The woman wears an orange scarf.", 0.75),
        ("the grey-haired woman", "A woman, her hair grey and haired.", 1.0),
        ("the man's hats", "A man has a hat.", 1.0),
        ("the running babies", "A baby runs.", 1.0),
        ("it", "A man.", 1.0),
        ("the red car", "A blue truck.", 0.0),
    ],
)
def test_inflected_words_count_as_said(expression: str, answers: str, share: float) -> None:
    assert answer_overlap(expression, answers) == share


def test_masks_are_held_against_their_video() -> None:
    def probe(_: str) -> VideoInfo:
        return VideoInfo(frames=4, height=80, width=80, fps=4.0, seekable=True)

    check_video(ONE.sample, probe)
    late = task_of("<region>?", "A dog.", annotation=[{"4": {"segmentation": {"size": [8, 8], "counts": [10, 54]}}}])
    with pytest.raises(DataError, match="past the end of the video") as error:
        check_video(late.sample, probe)
    assert (error.value.field, error.value.row) == ("annotation[0]", 4)
    wide = task_of("<region>?", "A dog.", annotation=[{"1": {"segmentation": {"size": [8, 16], "counts": [10, 118]}}}])
    with pytest.raises(DataError, match="8 × 16 does not fit"):
        check_video(wide.sample, probe)

    numbered = task_of("<region>?", "A dog.", frames="number",
                       annotation=[{"15": {"segmentation": {"size": [8, 8], "counts": [10, 54]}}}])  # fmt: skip
    check_video(numbered.sample, lambda _: replace(probe(_), numbers=((0, 5, 4),)))

    def gone(_: str) -> VideoInfo:
        raise DataError("no such file", field="video", hint="copy it")

    with pytest.raises(DataError, match=r"a\.json row 4 field 'video': no such file"):
        check_video(ONE.sample, gone)
