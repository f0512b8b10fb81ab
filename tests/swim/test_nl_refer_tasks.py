"""Placeholders of VideoRefer rows: found, counted, replaced, with everything else left as it was."""

import copy
from typing import Any

import pytest
from videorefer_rows import row, values

from swim.data.annotations.samples import parse_row
from swim.data.nl_refer.tasks import Referent, kind_of, read_task, substitute
from swim.data.types import DataError

DOG, MAN = Referent(expression="the brown dog", noun="dog"), Referent(expression="The old man", noun="man")


def test_a_region_becomes_the_expression_and_nothing_else_changes() -> None:
    raw = row("<video>\nWhat does <region> do,\n and why?", "The brown dog runs.", height=8, extra={"a": [1]})
    before = copy.deepcopy(raw)
    task = read_task(raw, file="detailed.json", row=7)
    done = substitute(task, [DOG])
    assert values(done) == ["<video>\nWhat does the brown <ins>dog</ins> do,\n and why?", "The brown dog runs."]
    assert done["index"] == "videorefer_detailed_caption_00000007"
    changed = {"conversations", "index"}
    assert {k: v for k, v in done.items() if k not in changed} == {k: v for k, v in before.items() if k not in changed}
    assert raw == before
    sample = parse_row(done, file="x.json", row=7, formats=("nl-refer",))
    assert (sample.marks, len(sample.tracks)) == ("ins", 1)


def test_labels_are_one_unit_with_their_region_and_mentions_are_not_tagged() -> None:
    raw = row(
        "<video>\nIs <object0><region> near <object1> <region>? Look at <object0>.",
        "Yes.",
        "And what does <object1> do?",
        "He sits.",
    )
    task = read_task(raw, file="a.json", row=0)
    assert (task.objects, task.kind, task.answers) == (2, "qa", "Yes.\nHe sits.")
    assert [(mark.entry, mark.object, mark.tagged) for mark in task.marks] == [
        (0, 0, True), (0, 1, True), (0, 0, False), (2, 1, False),
    ]  # fmt: skip
    assert values(substitute(task, [DOG, MAN])) == [
        "<video>\nIs the brown <ins>dog</ins> near the old <ins>man</ins>? Look at the brown dog.",
        "Yes.",
        "And what does the old man do?",
        "He sits.",
    ]


def test_a_label_may_be_mentioned_before_its_region_and_have_two_of_them() -> None:
    early = read_task(row("<object4> or <region>: which? I mean <object4><region>.", "B."), file="a.json", row=0)
    assert [(mark.object, mark.tagged) for mark in early.marks] == [(1, False), (0, True), (1, True)]
    assert early.introduced(1).start == 37
    twice = read_task(row("<object0><region>?", "A.", "Again <object0><region>?", "B."), file="a.json", row=0)
    assert twice.objects == 1
    assert values(substitute(twice, [DOG]))[2] == "Again the brown <ins>dog</ins>?"


@pytest.mark.parametrize(
    ("before", "expression", "after"),
    [
        ("Where is <region>?", "The brown dog", "Where is the brown <ins>dog</ins>?"),
        ("<region> runs. Why?", "the brown dog", "The brown <ins>dog</ins> runs. Why?"),
        ("<video>\n<region>?", "dog", "<video>\n<ins>Dog</ins>?"),
        ("Look! <region>", "the brown dog", "Look! The brown <ins>dog</ins>"),
        ("What does the <region> do?", "the brown dog", "What does the brown <ins>dog</ins> do?"),
        ("Is this <region> wet?", "a brown dog", "Is this brown <ins>dog</ins> wet?"),
        ("Describe <region>.", "Rex's dog", "Describe Rex's <ins>dog</ins>."),
        ("See <region>.", "the dog-house dog of the dog", "See the dog-house <ins>dog</ins> of the dog."),
    ],
)  # fmt: skip
def test_the_expression_fits_its_sentence(before: str, expression: str, after: str) -> None:
    task = read_task(row(before, "A."), file="a.json", row=0)
    assert values(substitute(task, [Referent(expression=expression, noun="dog")]))[0] == after


@pytest.mark.parametrize(
    ("fields", "file", "kind"),
    [
        ({}, "a.json", "detailed"),
        ({}, "videorefer-short-caption-500k.json", "short"),
        ({}, "s3://b/VideoRefer-QA-75k.json", "qa"),
        ({}, "basic_annotations.json", "detailed"),
        ({"type": "Relationship Questions"}, "detailed.json", "qa"),
        ({"type": "short_caption"}, "qa.json", "short"),
        ({"type": 5}, "a.json", "detailed"),
        ({"index": "videorefer_detailed_caption_aqa7"}, "qa.json", "detailed"),
    ],
)
def test_the_part_is_what_row_and_file_say(fields: dict[str, Any], file: str, kind: str) -> None:
    assert kind_of(row("<region>?", "A.", **fields), file) == kind


def test_a_name_with_qa_in_it_never_makes_a_caption_text_only() -> None:
    raw = row("<region>?", "A dog.", id="qa_aqa", video="qa/qa.mp4")
    done = substitute(read_task(raw, file="faqar.json", row=3), [DOG])
    assert parse_row(done, file="faqar.json", row=3).tracks
    asked = substitute(read_task(raw, file="a.json", row=3, kind="qa"), [DOG])
    assert asked["index"] == "qa_00000003"
    assert parse_row(asked, file="a.json", row=3).tracks == ()


def masked(counts: list[int]) -> list[Any]:
    return [{"3": {"segmentation": {"size": [8, 8], "counts": counts}}}]


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        (5, "row", "not a JSON object"),
        (row("What is this?", "A dog."), "row", "a nl-refer row"),
        (row("<region>?", "<object0> sits."), "conversations[1].value", "no <region>"),
        (row("<object0><region>?", "<object0> sits."), "conversations[1].value", "<object0> in an answer"),
        (row("A <ins>dog</ins> and <region>?", "A."), "conversations[0].value", "beside <ins> tags"),
        (row("<region>?", "A.", annotation=[]), "annotation", "1 <region> placeholders, 0 annotation entries"),
        (row("<region>?", "A.", annotation=None), "annotation", "no masks"),
        (row("<region>?", "A.", annotation=masked([64])), "annotation[0]", "empty"),
        (row("<region>?", "A.", annotation=masked([9])), "annotation[0]['3'].segmentation", "add up"),
        (row("<region>?", "A.", video=None), "video", "missing"),
    ],
)  # fmt: skip
def test_what_cannot_be_rewritten_says_where_and_why(raw: Any, field: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as error:
        read_task(raw, file="a.json", row=5)
    assert (error.value.field, error.value.file, error.value.row) == (field, "a.json", 5)
    assert error.value.hint
