"""One row at a time, against a model that errs in every way: rewritten, or rejected with the reason."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llm_server import COMPLETION_TOKENS, PROMPT_TOKENS, Behaviour, Model, Reply, oracle

from swim.data.synthetic import shapes_world
from swim.data.types import DataError
from swim.recipe import ShapesWorld
from swimlab.data.rejected_rows import Reject
from swimlab.data.rewriting.rewriter import (
    RewriteEstimate,
    RewriteOutcome,
    Rewriter,
    Rewriting,
    load_tokenizer,
)
from swimlab.llm.client import EndpointConfig
from swimlab.llm.usage import TokenUsage
from swimlab.store.sweep_store import SweepStore

TRACK = {"3": {"segmentation": {"size": [8, 8], "counts": [10, 5, 49]}}}


def row(question: str = "Describe <region>.", answer: str = "The small dog runs.") -> dict[str, Any]:
    said = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": "r", "video": "a.mp4", "conversations": said, "annotation": [TRACK] * question.count("<region>")}


def question_of(outcome: RewriteOutcome) -> str:
    assert outcome.done is not None
    value: str = outcome.done.row["conversations"][0]["value"]
    return value


@pytest.fixture
def rewriter(tmp_path: Path) -> Iterator[Callable[..., tuple[Rewriter, Model]]]:
    models: list[Model] = []

    def build(behave: Behaviour, **how: Any) -> tuple[Rewriter, Model]:
        models.append(Model(behave).__enter__())
        config = EndpointConfig(base_url=models[-1].url, model="m", retries=0)
        return Rewriter(Rewriting(endpoint=config, **how), SweepStore(str(tmp_path / "store"))), models[-1]

    yield build
    for model in models:
        model.__exit__()


def test_a_good_reply_makes_the_row(rewriter: Any) -> None:
    one, model = rewriter(lambda body, n: Reply(oracle(body)))
    done = one(row(), "a.json", 3)
    assert question_of(done) == "Describe the small <ins>dog</ins>."
    assert (done.kind, done.rejects) == ("detailed", [])
    assert done.usage == TokenUsage(paid=1, paid_prompt_tokens=PROMPT_TOKENS, paid_completion_tokens=COMPLETION_TOKENS)
    again = one(row(), "b.json", 9)
    assert question_of(again) == question_of(done)
    assert (again.usage.paid, again.usage.cached, again.usage.cached_prompt_tokens) == (0, 1, PROMPT_TOKENS)
    assert len(model.bodies) == 1


BAD = [
    ("", "not the JSON"),
    ("{nonsense", "not the JSON"),
    ('{"referents": "dog"}', "not the JSON"),
    ('{"referents": []}', "0 entries where 1 were asked for"),
    (json.dumps({"referents": [{"expression": "the dog", "noun": "cat"}]}), "is no word of its expression"),
    (json.dumps({"referents": [{"expression": "the green fish", "noun": "fish"}]}), "they say 0%"),
]


@pytest.mark.parametrize(("reply", "reason"), BAD)
def test_an_unusable_reply_is_asked_for_again_with_the_reason(rewriter: Any, reply: str, reason: str) -> None:
    one, model = rewriter(lambda body, n: Reply(reply if len(body["messages"]) == 2 else oracle(body)))
    done = one(row(), "a.json", 0)
    assert question_of(done) == "Describe the small <ins>dog</ins>."
    assert done.usage.paid == 2
    asked = model.bodies[1]["messages"]
    assert [message["role"] for message in asked] == ["system", "user", "assistant", "user"]
    assert asked[2]["content"] == (reply or "(nothing)")
    assert reason in asked[3]["content"]


@pytest.mark.parametrize(("reply", "reason"), BAD)
def test_a_model_that_never_learns_costs_its_row(rewriter: Any, reply: str, reason: str) -> None:
    one, model = rewriter(lambda body, n: Reply(reply), reasks=2)
    done = one(row(), "a.json", 7)
    assert done.done is None
    (reject,) = done.rejects
    assert reason in reject.reason
    assert reject.reason.endswith("in the last of 3 replies")
    assert (reject.file, reject.row, reject.key, reject.output) == ("a.json", 7, "a:00000007:r", "rewritten")
    assert reject.field
    assert reject.hint
    assert done.usage.paid == 3
    one(row(), "a.json", 7)
    assert len(model.bodies) == 3  # what was wrong once is not paid for again either


@pytest.mark.parametrize(
    ("reply", "reason", "asked"),
    [
        (Reply("", refusal="I would rather not"), "the model refuses: I would rather not", 1),
        (Reply("", finish="content_filter"), "the server's filter stopped it", 1),
        (Reply('{"referents": [], "cannot": "no name"}'), "the model cannot: no name", 1),
        (Reply('{"referents": [{"expr', finish="length"), "cut off at its limit of tokens", 3),
        (Reply("no", status=400), "the endpoint refuses with status 400", 1),
        (Reply(drop="at once"), "no connection to the endpoint", 1),
    ],
)
def test_every_other_end_is_a_reject_too(rewriter: Any, reply: Reply, reason: str, asked: int) -> None:
    one, model = rewriter(lambda body, n: reply)
    done = one(row(), "a.json", 0)
    assert done.done is None
    assert reason in done.rejects[0].reason
    assert len(model.bodies) == asked


@pytest.mark.parametrize(
    "raw", [5, row("What is it?"), row("<region>?", "<object0>."), row() | {"annotation": [{}]}, row() | {"video": ""}]
)
def test_nobody_is_paid_for_a_row_that_cannot_be_used(rewriter: Any, raw: Any) -> None:
    one, model = rewriter(lambda body, n: Reply(oracle(body)))
    assert len(one(raw, "a.json", 0).rejects) == 1
    assert model.bodies == []
    estimate = RewriteEstimate()
    one.estimate(raw, "a.json", 0, estimate)
    assert (estimate.rows, sum(estimate.rejected.values()), estimate.requests) == (1, 1, 0)


def test_the_synonym_variant_is_another_row_and_another_request(rewriter: Any) -> None:
    one, model = rewriter(lambda body, n: Reply(oracle(body)), synonyms=True)
    done = one(row(), "a.json", 0)
    assert done.synonym is not None
    assert done.synonym["conversations"][0]["value"] == "Describe the small <ins>dogoid</ins>."
    assert question_of(done) == "Describe the small <ins>dog</ins>."
    assert (len(model.bodies), done.usage.paid) == (2, 2)
    assert model.bodies[1]["response_format"]["json_schema"]["name"] == "synonyms"


def test_a_row_without_a_synonym_keeps_its_first_form(rewriter: Any) -> None:
    def same(body: dict[str, Any], _: int) -> Reply:
        rewriting = body["response_format"]["json_schema"]["name"] != "synonyms"
        return Reply(oracle(body) if rewriting else '{"synonyms": ["dog"], "cannot": ""}')

    one, _ = rewriter(same, synonyms=True, reasks=1)
    done = one(row(), "a.json", 2)
    assert done.done is not None
    assert done.synonym is None
    (reject,) = done.rejects
    assert (reject.output, reject.row) == ("synonym", 2)
    assert reject.summary == "synonym: the synonym of '…' is the same word, in the last of N replies"


def test_an_estimate_counts_what_is_not_there_yet(rewriter: Any) -> None:
    one, model = rewriter(lambda body, n: Reply(oracle(body)))
    before = RewriteEstimate()
    one.estimate(row(), "a.json", 0, before)
    content = [message["content"] for message in _messages(one, row())]
    assert before.prompt_tokens == sum(len(one.tokenizer(text)["input_ids"]) for text in content)
    assert (before.requests, before.cached) == (1, 0)
    assert before.expected_completion_tokens > 0
    assert model.bodies == []
    one(row(), "a.json", 0)
    after = RewriteEstimate()
    one.estimate(row(), "a.json", 0, after)
    assert (after.requests, after.cached, after.prompt_tokens) == (0, 1, 0)
    assert after.known_completion_tokens == COMPLETION_TOKENS


def _messages(one: Rewriter, raw: dict[str, Any]) -> list[dict[str, str]]:
    from swim.data.nl_refer.instructions import rewrite_messages
    from swim.data.nl_refer.tasks import read_task

    assert one.rewriting.endpoint
    return rewrite_messages(read_task(raw, file="a.json", row=0))


def test_the_rules_need_no_server(tmp_path: Path) -> None:
    one = Rewriter(Rewriting(synonyms=True), SweepStore(str(tmp_path / "store")))
    done = one(row(), "a.json", 0)
    assert question_of(done) == "Describe the small <ins>dog</ins>."
    assert done.synonym is not None
    assert done.synonym["conversations"][0]["value"] == "Describe the small <ins>hound</ins>."
    assert one(row(answer="It runs."), "a.json", 1).rejects[0].key == "a:00000001:r"
    estimate = RewriteEstimate()
    one.estimate(row(), "a.json", 0, estimate)
    assert estimate == RewriteEstimate(rows=1)
    assert not (tmp_path / "store").exists()


def test_masks_are_held_against_real_videos_before_anything_else(tmp_path: Path) -> None:
    config = ShapesWorld(clips=1, held_out=1)
    (made,) = shapes_world.write(config, "train", [0], tmp_path)
    one = Rewriter(Rewriting(videos=str(tmp_path)), SweepStore(str(tmp_path / "store")))
    fits = row(answer="The lemon is small.") | {"video": made["video"], "annotation": [made["annotation"][0]]}
    assert one(fits, "a.json", 0).rejects == []
    (late,) = one(fits | {"annotation": [TRACK | {"4": TRACK["3"]}]}, "a.json", 0).rejects
    assert (late.field, late.reason) == ("annotation[0]", "a mask past the end of the video")
    (gone,) = one(fits | {"video": "gone.mp4"}, "a.json", 5).rejects
    assert (gone.field, gone.row) == ("video", 5)


def test_reasons_that_differ_in_names_and_numbers_count_as_one() -> None:
    def summary(reason: str) -> str:
        return Reject.of(DataError(reason, field="f", hint="h", file="a", row=1, key="k")).summary

    assert summary("not taken from the answers: they say 5%") == summary("not taken from the answers: they say 9%")
    assert summary("the noun 'dog' is no word") == "the noun '…' is no word"
    broken = Reject.of(DataError("\ud800", field="\udfff", hint="h", file="a", row=1, key="k"))
    assert json.dumps(broken.model_dump()).encode()


def test_a_tokenizer_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((OSError, ValueError)):
        load_tokenizer(str(tmp_path / "gone"))
    built = load_tokenizer(None)
    assert built("a dog", return_offsets_mapping=True)["offset_mapping"]
