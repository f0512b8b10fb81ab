"""The scorers of both benchmarks on answers as a runner hands them over."""

import json

import numpy as np
import pytest

from swim.data.types import DataError, ReferSample, Turn
from swim.evaluation.clustered import clustered_mean
from swim.evaluation.grading import grade
from swim.evaluation.judging import AXES, SCHEMA
from swim.evaluation.scorers import bench_d, bench_q
from swim.evaluation.scoring import Asked, Reply
from swim.outputs import Answer

OPTIONS = ("(A) A <ins>rope</ins>", "(B) It runs")


def asked(n, text, gpt, video="v", finish="stop", **sample):
    turn = Turn(human="What does the <ins>dog</ins> do?", gpt=gpt)
    row = ReferSample(key=f"q:{n}", file="q.json", row=n, video=f"{video}{n % 3}", turns=(turn,), **sample)
    return Asked(Answer(key=f"q:{n}", turn=0, question="What does the dog do?", text=text, finish=finish), row)


def choice(n, text, truth="(B) It runs", kind="Basic Questions", options=OPTIONS):
    return asked(n, text, truth, question_type=kind, options=options)


def nobody(questions):
    raise AssertionError("letters need no judge")


def test_types_micro_average_and_both_readings():
    said = ["B", "The answer is B.", "I cannot tell.", "(A)", ""]
    items = [choice(n, text) for n, text in enumerate(said)]
    items.append(choice(6, "a", truth="(A) A <ins>rope</ins>", kind="Future Predictions"))
    result = bench_q.score(bench_q.Config(), items, nobody)
    means = {name: value for name, value in result.metrics.items() if not name.endswith(("_low", "_high"))}
    assert means == pytest.approx(
        {
            "bench_q.basic": 40.0,
            "bench_q.future": 100.0,
            "bench_q.right": 0.5,
            "bench_q.avg": 50.0,  # over questions: the mean over types would be 70
            "bench_q_released.basic": 20.0,
            "bench_q_released.future": 100.0,
            "bench_q_released.avg": 100 / 3,
            "bench_q.asked": 6.0,
            "bench_q.refused": 1.0,
            "bench_q.unclear": 1.0,
            "bench_q.failed": 0.0,
            "bench_q.undecided": 0.0,
            "bench_q_released.errors": 1.0,
        }
    )
    interval = clustered_mean([100.0 * right for right in (1, 1, 0, 0, 0, 1)], [0, 1, 2, 0, 1, 0])
    ends = (max(0.0, interval.low), min(100.0, interval.high))
    assert (result.metrics["bench_q.avg_low"], result.metrics["bench_q.avg_high"]) == ends
    assert "bench_q.future_low" not in result.metrics  # one question has no interval
    rows = [row.value for row in result.scores if row.metric == "bench_q.basic"]
    assert np.mean(rows) == result.metrics["bench_q.basic"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"truth": "(C) x"}, "Answer"),
        ({"truth": "B"}, "Answer"),
        ({"options": ()}, "Answer"),
        ({"options": ("A rope", "(B) x")}, "options"),
        ({"kind": " "}, "type"),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(change, field):
    with pytest.raises(DataError, match=rf"q\.json row 4 field '{field}'"):
        bench_q.score(bench_q.Config(), [choice(4, "B", **change)], nobody)


def test_questions_without_an_answer_are_left_out_and_counted():
    answered = [choice(n, "B") for n in range(98)]
    failed = [asked(98 + n, "", OPTIONS[1], finish="failed", question_type="x", options=OPTIONS) for n in range(3)]
    metrics = bench_q.score(bench_q.Config(), answered + failed[:2], nobody).metrics
    assert (metrics["bench_q.failed"], metrics["bench_q.avg"], metrics["bench_q.undecided"]) == (2, 100, 0)
    metrics = bench_q.score(bench_q.Config(), answered + failed, nobody).metrics
    assert (metrics["bench_q.failed"], metrics["bench_q.undecided"]) == (3, 1)
    assert "bench_q.avg" not in metrics
    grades = grade([asked(0, "", "A dog.", finish="failed")], nobody, "text", reasks=2)
    assert [(item.outcome, item.replies) for item in grades] == [("failed", 0)]


def said(*scores):
    lines = (f"{n}. {name}: {score}" for n, name, score in zip((1, 2, 3, 4), AXES.values(), scores, strict=False))
    return Reply(text="\n".join(lines))


class Script:
    """Replies by the text of the graded answer, one after another."""

    def __init__(self, **replies):
        self.replies, self.asked = {name: list(of_name) for name, of_name in replies.items()}, []

    def __call__(self, questions):
        self.asked += questions
        return [self.replies[q.messages[1]["content"].rpartition("\n")[2]].pop(0) for q in questions]


def descriptions(*names):
    return [asked(n, name, "A brown <ins>dog</ins> runs.") for n, name in enumerate(names)]


def test_everything_asked_is_parsed_unparsed_refused_or_failed():
    script = Script(
        good=[said(5, 4, 3, 2)],
        mended=[said(7, 4, 3, 2), said(1, 1, 1, 1)],
        hopeless=[said(3.5, 1, 1, 1), said("x", 1, 1, 1), Reply(text="1. Subj", finish="length")],
        refusing=[Reply(refusal="I do not judge dogs")],
        filtered=[Reply(finish="content_filter")],
        lost=[Reply(failure="status 500")],
    )
    items = descriptions("good", "mended", "hopeless", "refusing", "filtered", "lost")
    result = bench_d.score(bench_d.Config(most_missing=0.7), items, script)
    metrics = result.metrics
    counts = {name: metrics[f"bench_d.{name}"] for name in ("asked", "parsed", "unparsed", "refused", "failed")}
    assert counts == {"asked": 6, "parsed": 2, "unparsed": 1, "refused": 2, "failed": 1}
    assert metrics["bench_d.reasked"] == 2
    assert [metrics[f"bench_d.{axis}"] for axis in ("sc", "ad", "td", "hd", "avg")] == [3, 2.5, 2, 1.5, 2.25]
    assert [row.value for row in result.scores if row.metric == "bench_d.avg"] == [3.5, 1.0]
    # The released rule: first replies only, each axis over the rows that have it, a 7 and a 3.5 among them.
    assert [metrics[f"bench_d_released.{axis}_rows"] for axis in AXES] == [3, 3, 3, 3]
    assert metrics["bench_d_released.sc"] == pytest.approx((5 + 7 + 3.5) / 3)
    assert metrics["bench_d_released.avg"] == pytest.approx((15.5 / 3 + 9 / 3 + 7 / 3 + 5 / 3) / 4)
    assert len(script.asked) == 9


def test_the_reason_is_told_to_the_judge_and_kept():
    script = Script(hopeless=[said(7, 1, 1, 1)] * 3, lost=[Reply(failure="status 500")])
    grades = grade(descriptions("hopeless", "lost"), script, "text", reasks=2)
    assert "Subject Correspondence is 7" in script.asked[2].messages[-1]["content"]
    assert [(item.outcome, item.reason) for item in grades] == [
        ("unparsed", "Subject Correspondence is 7, not a whole number from 0 to 5"),
        ("failed", "status 500"),
    ]
    assert [item.replies for item in grades] == [3, 1]


def test_above_two_percent_missing_there_is_no_mean():
    for lost, undecided in ((1, False), (2, True)):
        replies = {f"n{i}": [Reply(failure="x")] if i < lost else [said(5, 5, 5, 5)] for i in range(50)}
        result = bench_d.score(bench_d.Config(), descriptions(*replies), Script(**replies))
        assert result.metrics["bench_d.undecided"] == undecided
        assert ("bench_d.avg" in result.metrics) is not undecided
        assert result.metrics["bench_d.failed"] == lost
        kept = [row for row in result.scores if row.metric.removeprefix("bench_d.") in (*AXES, "avg")]
        assert len(kept) == 5 * (50 - lost)  # what was graded is kept


def test_nothing_graded_and_nothing_asked():
    result = bench_d.score(bench_d.Config(most_missing=1), descriptions("a"), Script(a=[Reply(failure="x")]))
    assert result.metrics["bench_d.undecided"] == 1
    assert {row.metric for row in result.scores} == {"bench_d.leak"}
    assert "bench_d_released.avg" not in result.metrics
    for scorer in (bench_d, bench_q):
        with pytest.raises(ValueError, match="no answers to score"):
            scorer.score(scorer.Config(), [], nobody)


def test_the_schema_form_asks_for_json_and_has_no_released_reading():
    fields = dict(zip(SCHEMA["required"], (5, 4, 3, 2), strict=True))
    reply = Reply(text=json.dumps(fields))
    script = Script(good=[reply])
    metrics = bench_d.score(bench_d.Config(form="schema"), descriptions("good"), script).metrics
    assert metrics["bench_d.avg"] == 3.5
    assert not any(name.startswith("bench_d_released") for name in metrics)
    assert script.asked[0].schema is not None
    assert "<ins>" not in script.asked[0].messages[1]["content"]


def test_a_judge_that_grades_again_is_averaged_and_its_spread_is_shown():
    script = Script(
        steady=[said(4, 4, 4, 4), said(4, 4, 4, 4)],
        moody=[said(5, 3, 1, 1), said(1, 1, 1, 1)],
        lost=[Reply(failure="status 500"), said(2, 2, 2, 2)],
    )
    items = descriptions("steady", "moody", "lost")
    result = bench_d.score(bench_d.Config(repeats=2), items, script)
    assert [row.value for row in result.scores if row.metric == "bench_d.avg"] == [4, 1.75, 2]
    assert result.metrics["bench_d.sc"] == pytest.approx((4 + 3 + 2) / 3)
    assert (result.metrics["bench_d.asked"], result.metrics["bench_d.failed"]) == (6, 1)
    assert result.metrics["bench_d.undecided"] == 0  # each answer has a grade
    # Variances within an answer: 0 and (2.5 - 1)^2 / 2; one grade has none.
    assert result.metrics["bench_d.repeat_sd"] == pytest.approx(np.sqrt(1.125 / 2))
    assert result.metrics["bench_d_released.sc"] == pytest.approx(4.5)  # of the first grading
    assert [question.repeat for question in script.asked] == [0, 0, 0, 1, 1, 1]


def test_what_the_question_tells_is_a_row_of_each_answer():
    result = bench_d.score(bench_d.Config(), descriptions("a"), Script(a=[said(1, 1, 1, 1)]))
    (row,) = (row for row in result.scores if row.metric == "bench_d.leak")
    assert row.value == result.metrics["bench_d.leak"] == 0  # "brown" and "runs"; the dog is asked about
