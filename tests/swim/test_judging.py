"""A judge's replies: read strictly, and by the released rule fault for fault."""

import json

import pytest

from swim.evaluation.judging import AXES, SCHEMA, Unparsed, question, question_again, read, released_read

RIGHT = {"sc": 5, "ad": 4, "td": 3, "hd": 2}


def lines(**changes):
    """The four lines with other text behind some axes' names."""
    values = {axis: str(value) for axis, value in RIGHT.items()} | changes
    return "\n".join(f"{n}. {AXES[axis]}: {value}" for n, (axis, value) in enumerate(values.items(), 1))


LINES = lines()


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        f"{LINES}\n\nThe prediction names the dog.\nSubject Correspondence: both mean the dog.",
        lines(sc="**5**", ad="4/5", td="3."),
        LINES.replace("1. Subject Correspondence", "1. **Subject Correspondence**"),
        LINES.replace(". ", ") ").upper(),
        "\n".join(reversed(LINES.splitlines())),
        "\n".join(f"- {line[3:]}" for line in LINES.splitlines()),
    ],
)
def test_four_scores_in_any_dress_and_order(text):
    assert read(text, "text") == RIGHT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (lines(sc="7"), "Subject Correspondence is 7, not a whole number from 0 to 5"),
        (lines(ad="-1"), "Appearance Description is -1, not"),
        (lines(ad="−1"), "Appearance Description is −1, not"),
        (lines(td="3.5"), "Temporal Description is 3.5, not"),
        (lines(td="4/10"), "Temporal Description is 4/10, not"),
        (lines(hd="none"), "Hallucination Detection is none, not"),
        ("\n".join(LINES.splitlines()[:3]), "Hallucination Detection is missing"),
        (f"{LINES}\n{LINES}", "Subject Correspondence is there 2 times"),
        ("", "Subject Correspondence is missing"),
        ("All four are 5.", "Subject Correspondence is missing"),
    ],
)
def test_anything_else_is_unparsed_with_the_reason(text, reason):
    result = read(text, "text")
    assert isinstance(result, Unparsed)
    assert reason in result.reason


def as_json(**changes):
    fields = dict(zip(SCHEMA["required"], RIGHT.values(), strict=True))
    return json.dumps(fields | changes)


def test_json_is_read_by_its_fields():
    assert read(as_json(), "schema") == RIGHT
    assert read(f"```json\n{as_json()}\n```", "schema") == RIGHT


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (as_json(temporal_description=7), "Temporal Description is 7"),
        (as_json(temporal_description=3.0), "Temporal Description is 3.0"),
        (as_json(temporal_description=True), "Temporal Description is True"),
        (as_json(temporal_description=None), "Temporal Description is None"),
        ('{"subject_correspondence": 5}', "Appearance Description is missing"),
        ('{"subject_correspondence": 5, "subject_correspondence": 1}', "a field is there twice"),
        ("[5, 4, 3, 2]", "not a JSON object"),
        (LINES, "not the JSON"),
        ("[" * 100_000, "not the JSON"),
    ],
)
def test_json_of_another_shape_is_unparsed(text, reason):
    result = read(text, "schema")
    assert isinstance(result, Unparsed)
    assert reason in result.reason


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        (LINES, {axis: float(value) for axis, value in RIGHT.items()}),
        (lines(sc="**5**"), {"ad": 4, "td": 3, "hd": 2}),
        (LINES.replace("1. Subject Correspondence", "1. **Subject Correspondence**"), {"ad": 4, "td": 3, "hd": 2}),
        (LINES.replace("1.", "1)"), {"ad": 4, "td": 3, "hd": 2}),
        (lines(sc="7", ad="4/5", td="3.5", hd="2."), {"sc": 7, "ad": 4, "td": 3.5, "hd": 2}),
        (lines(ad="-1"), {"sc": 5, "td": 3, "hd": 2}),
        (lines(hd="4.."), None),
        (f"{LINES}\n5. color: 1", {axis: float(value) for axis, value in RIGHT.items()}),
        (f"{LINES}\n1. Subject Correspondence: 0", {"sc": 0, "ad": 4, "td": 3, "hd": 2}),
        ("", {}),
    ],
)
def test_the_released_rule_fault_for_fault(text, scores):
    assert released_read(text) == scores


def test_a_judge_sees_the_reference_and_the_answer_and_no_tags_of_ours():
    asked = question("A brown dog.", "", "schema")
    system, user = (message["content"] for message in asked.messages)
    assert all(name in system for name in AXES.values())
    assert user == "Reference description:\nA brown dog.\n\nDescription to grade:\n(nothing)"
    assert (asked.schema, asked.name) == (SCHEMA, "scores")
    again = question_again(asked, "five", "the reply is not JSON")
    assert [message["role"] for message in again.messages] == ["system", "user", "assistant", "user"]
    assert again.messages[:2] == asked.messages
    assert question("a", "b", "text").schema is None
