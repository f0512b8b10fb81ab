"""What a model is asked and how its replies are read: exact, or refused."""

import json

import pytest
from videorefer_rows import row

from swim.data.nl_refer import instructions
from swim.data.nl_refer.tasks import Referent, read_task
from swim.data.types import DataError


def test_one_request_holds_the_whole_row_with_numbered_marks() -> None:
    raw = row(
        "<video>\nIs <object0><region> near <object1><region>?",
        "Yes, the dog is.",
        "What does <object1> do? <region>?",
        "It sits.",
    )
    system, user = instructions.rewrite_messages(read_task(raw, file="a.json", row=0))
    assert user["content"] == (
        "Person: Is [1] near [2]?\nAssistant: Yes, the dog is.\n"
        "Person: What does [2] do? [3]?\nAssistant: It sits.\n\nMarks: [1], [2], [3]"
    )
    assert (system["role"], user["role"]) == ("system", "user")
    assert '{"referents": [{"expression": "...", "noun": "..."}], "cannot": ""}' in system["content"]


def test_the_schemas_are_strict() -> None:
    for schema in (instructions.REWRITE_SCHEMA, instructions.SYNONYMS_SCHEMA):
        objects = [schema, *(p["items"] for p in schema["properties"].values() if p.get("items", {}).get("properties"))]
        for one in objects:
            assert one["additionalProperties"] is False
            assert set(one["required"]) == set(one["properties"])


GOOD = {"referents": [{"expression": "the dog", "noun": "dog"}], "cannot": ""}


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps(GOOD),
        f" \n{json.dumps(GOOD)}\n",
        f"```json\n{json.dumps(GOOD)}\n```",
        json.dumps(GOOD | {"cannot": " "}),
    ],
)  # fmt: skip
def test_a_reply_is_read(reply: str) -> None:
    assert instructions.read_referents(reply, 1) == (Referent(expression="the dog", noun="dog"),)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "not the JSON"),
        ("Here you go: {}", "not the JSON"),
        (json.dumps(GOOD)[:-5], "not the JSON"),
        ("[]", "not the JSON"),
        ("null", "not the JSON"),
        (json.dumps({"referents": [{"expression": "the dog"}]}), r"referents\.0\.noun: Field required"),
        (json.dumps({"referents": [{"expression": 5, "noun": "dog"}]}), r"referents\.0\.expression"),
        (json.dumps(GOOD | {"note": "x"}), "note: Extra inputs"),
        (json.dumps({"referents": GOOD["referents"] * 2}), "2 entries where 1 were asked for"),
        (json.dumps({"referents": []}), "0 entries"),
        ("[" * 100_000, "not the JSON"),
        ('{"referents": [], "cannot": ' + "9" * 5000 + "}", "not the JSON"),
    ],
)
def test_a_reply_that_is_none_can_be_asked_for_again(reply: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as error:
        instructions.read_referents(reply, 1)
    assert error.value.field == "reply"
    assert not isinstance(error.value, instructions.RefusedError)


def test_a_model_that_cannot_is_believed() -> None:
    with pytest.raises(instructions.RefusedError, match="the model cannot: nothing names it"):
        instructions.read_referents(json.dumps({"referents": [], "cannot": "nothing\n names it"}), 1)


def test_asking_again_shows_the_reply_and_its_fault() -> None:
    first = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    more = instructions.retry_messages(first, "", "it is empty")
    assert more[:2] == first
    assert [message["role"] for message in more[2:]] == ["assistant", "user"]
    assert more[2]["content"]
    assert "it is empty" in more[3]["content"]
    assert len(first) == 2


def test_synonyms_are_asked_for_in_their_sentences() -> None:
    asked = ["<video>\nSee the <ins>dog</ins> and a <ins>cat</ins>?", "The <ins>man</ins>?"]
    content = instructions.synonym_messages(asked)[1]["content"]
    assert content == "See the [1: dog] and a [2: cat]?\nThe [3: man]?"
    assert instructions.read_synonyms('{"synonyms": ["hound", "feline"], "cannot": ""}', 2) == ("hound", "feline")
    with pytest.raises(instructions.RefusedError):
        instructions.read_synonyms('{"synonyms": [], "cannot": "no such word"}', 1)
