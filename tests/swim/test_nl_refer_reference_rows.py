"""Rows whose expressions are known: they are VideoRefer rows, and what is right or wrong about an answer is told."""

import json

import pytest

from swim.data.nl_refer import reference_rows, rules
from swim.data.nl_refer.tasks import Referent, read_task, substitute

ROWS = list(reference_rows.rows(4, seed=1))


@pytest.mark.parametrize("one", ROWS, ids=lambda one: one.raw["id"])
def test_a_known_row_can_be_put_back_together(one: reference_rows.ReferenceRow) -> None:
    task = read_task(json.loads(json.dumps(one.raw)), file="reference_rows.jsonl", row=0)
    assert task.objects == len(one.referred) == len(one.phrases)
    assert task.kind == ("qa" if one.group == "two in one" else "detailed")
    truth = [
        Referent(expression=phrase, noun=one.objects[i].noun)
        for phrase, i in zip(one.phrases, one.referred, strict=True)
    ]
    row = substitute(task, truth)
    referents = reference_rows.read_back(one, row)
    assert [referent.expression.lower() for referent in referents] == list(one.phrases)
    assert [reference_rows.judge(one, i, referent) for i, referent in enumerate(referents)] == ["right"] * len(truth)
    for i, entry in zip(one.referred, row["conversations"][1::2], strict=False):
        for slot in entry.get("slots", []):
            assert entry["value"][slot["start"] : slot["end"]] == getattr(one.objects[i], slot["name"])


def test_the_groups_differ_in_what_makes_them_hard() -> None:
    by_group = {group: [one for one in ROWS if one.group == group] for group in reference_rows.GROUPS}
    assert {len(rows) for rows in by_group.values()} == {4}
    for one in by_group["twins"]:
        nouns = [thing.noun for thing in one.objects]
        assert len(set(nouns)) == 2
    for one in by_group["twins, told later"]:
        subject = rules.subject(one.raw["conversations"][1]["value"])
        assert subject.short == f"the {subject.noun}"
    assert all(len(one.raw["conversations"]) == 2 for one in by_group["two in one"])


def test_every_kind_of_error_is_told_apart() -> None:
    one = next(one for one in ROWS if one.group == "twins" and one.objects[one.referred[0]].revealed)
    meant = one.objects[one.referred[0]]
    twin = next(t for t in one.objects if t.noun == meant.noun and t is not meant)

    def judge(expression: str, noun: str = meant.noun) -> str:
        return reference_rows.judge(one, 0, Referent(expression=expression, noun=noun))

    mine, other = (getattr(thing, meant.revealed) for thing in (meant, twin))
    assert judge(f"the {mine} {meant.noun}") == "right"
    assert judge(f"the {other} {meant.noun}") == "wrong object"
    assert judge(f"the {meant.noun}") == "ambiguous"
    assert judge(f"the shiny {meant.noun}") == "ambiguous"
    assert judge(f"the {mine} thing", "thing") == "wrong noun"


def test_a_row_that_changed_elsewhere_cannot_be_judged() -> None:
    one = ROWS[0]
    row = substitute(read_task(one.raw, file="a.json", row=0), [Referent(expression="the x", noun="x")] * 3)
    row["conversations"][1]["value"] += " "
    with pytest.raises(ValueError, match="with its placeholders replaced"):
        reference_rows.read_back(one, row)
