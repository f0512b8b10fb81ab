"""Answers by the size of the object and by where the model looks: planted facts come out, and real ones are those of
other code."""

import numpy as np
import pytest

from swim.data.masks.encodings import decode
from swim.evaluation.breakdown import SIZE_CLASSES, Scored, breakdown, of_answers, size_class
from swim.evaluation.evaluate import run_suite
from swim.evaluation.generate import Decoding, Prompt, generate
from swim.evaluation.leak import leak_share
from swim.evaluation.prompts import contour, noun_only
from swim.outputs import Answer, SampleScore
from swim.train import Trained, encoder_for


@pytest.fixture
def trained(nano, model, tokenizer):
    return Trained(model.eval(), tokenizer, encoder_for(nano, model, tokenizer), [])


@pytest.mark.parametrize(
    ("cells", "name"),
    [(0.0, "under_4"), (3.99, "under_4"), (4.0, "4_to_32"), (32.0, "4_to_32"), (32.01, "over_32"), (999, "over_32")],
)
def test_the_classes_of_sizes(cells, name):
    assert size_class(cells) == f"cells_{name}"


def test_answers_are_counted_by_size_and_by_look():
    scored = [
        Scored.of(("a", 0), [1.0, 0.0], False, (2.0, 50.0), (1.0, 1.0)),  # the smallest object counts
        Scored.of(("b", 0), [1.0, 1.0], True, (3.0,), (1.0, 0.0)),  # one noun looks elsewhere
        Scored.of(("c", 1), [1.0], True, (40.0,), (1.0,)),
        Scored.of(("d", 0), [0.0], False, (), (0.5,)),  # a tie is no peak; no size
        Scored.of(("e", 0), [1.0], True, (10.0,), ()),
    ]
    result = breakdown("answer", "accuracy", scored)
    assert result.metrics == pytest.approx(
        {
            "answer.cells": (2 + 3 + 40 + 10) / 4,
            "answer.on_object": 0.5,
            "answer.right": 0.6,
            "answer.accuracy.cells_under_4": 0.75,  # over slots
            "answer.accuracy.cells_4_to_32": 1.0,
            "answer.accuracy.cells_over_32": 1.0,
            "answer.answers.cells_under_4": 2,
            "answer.answers.cells_4_to_32": 1,
            "answer.answers.cells_over_32": 1,
            "answer.on_object.right": 1,
            "answer.on_object.wrong": 1,
            "answer.off_object.right": 1,
            "answer.off_object.wrong": 1,
        }
    )
    rows = {(row.key, row.turn, row.metric): row.value for row in result.rows}
    assert (rows["a", 0, "answer.cells"], rows["c", 1, "answer.on_object"], rows["e", 0, "answer.right"]) == (2, 1, 1)
    assert ("d", 0, "answer.cells") not in rows
    assert ("e", 0, "answer.on_object") not in rows


def test_only_rows_of_the_metric_are_broken_down():
    def row(metric, value):
        return SampleScore(key="a", turn=0, tag=-1, noun="", metric=metric, value=value)

    answer = Answer(key="a", turn=0, question="", text="", finish="stop", cells=(1.0,), pointing=(1.0,))
    result = of_answers("bench_d", "avg", [row("bench_d.sc", 1), row("bench_d.avg", 4)], [answer], right=4.0)
    assert result.metrics["bench_d.avg.cells_under_4"] == 4
    assert result.metrics["bench_d.on_object.right"] == 1
    assert result.metrics["bench_d.on_object.wrong"] == result.metrics["bench_d.answers.cells_over_32"] == 0
    assert "bench_d.avg.cells_over_32" not in result.metrics
    unseen = of_answers(
        "bench_d", "avg", [row("bench_d.avg", 4)], [answer.model_copy(update={"cells": (), "pointing": ()})], 4
    )
    assert unseen.metrics == {"bench_d.right": 1}


def test_an_answer_says_how_large_its_object_is_and_whether_its_noun_looks_there(nano, trained, clips):
    prompts = [Prompt(clip, clip.turns[0].human) for clip in clips]
    answers = generate(nano, trained, prompts, Decoding(max_new_tokens=1), batch_size=4)
    forced = run_suite("attention", nano.override({"evaluation": {"attention": {}}}), trained, clips)
    rows, metrics = forced.scores, forced.metrics
    peaks = {row.key: row.value for row in rows if row.metric == "attention.pointing" and row.turn == 0}
    sizes = {row.key: row.value for row in rows if row.metric == "answer.cells" and row.turn == 0}
    assert {answer.key: answer.pointing for answer in answers} == {key: (peak,) for key, peak in peaks.items()}
    for answer, clip in zip(answers, clips, strict=True):
        _, height, width = clip.size_THW
        masks = [decode(rle) for rle in clip.masks[0].values()]
        cells = np.mean([mask.mean() for mask in masks]) * (height // 8) * (width // 8)  # a token is 8 pixels wide
        assert answer.cells == pytest.approx((cells,))
        assert sizes[clip.key] == answer.cells[0]
    assert len(set(peaks.values())) == 2  # it looks at some
    # The teacher-forced answers of all turns, each of three slots.
    counts = {name: metrics[f"answer.answers.{name}"] for name in SIZE_CLASSES}
    assert sum(counts.values()) == sum(len(clip.turns) for clip in clips)
    mean = sum(metrics.get(f"answer.accuracy.{name}", 0) * n for name, n in counts.items()) / sum(counts.values())
    assert mean == pytest.approx(metrics["answer.accuracy"])
    quadrants = [metrics[f"answer.{a}_object.{b}"] for a in ("on", "off") for b in ("right", "wrong")]
    assert sum(quadrants) == sum(counts.values())
    assert quadrants[0] + quadrants[1] == sum(row.value == 1 for row in rows if row.metric == "attention.pointing")


def test_arms_that_keep_the_noun_are_read_and_a_later_turn_has_its_own_object(nano, trained, clips):
    clip = clips[0]
    few = Decoding(max_new_tokens=1)
    by_noun = generate(nano, trained, noun_only.prompts(clip), few)
    outlined = generate(nano, trained, contour.prompts(clip), few)
    assert [len(answer.pointing) for answer in (*by_noun, *outlined)] == [1] * 2 * len(clip.turns)
    assert [answer.cells for answer in by_noun] == [answer.cells for answer in outlined]
    assert len({answer.cells for answer in by_noun}) > 1
    (untagged,) = generate(nano, trained, [Prompt(clip, "Describe the lemon.")], few)
    assert untagged.pointing == ()
    assert untagged.cells == by_noun[0].cells


@pytest.mark.parametrize(
    ("question", "reference", "nouns", "share"),
    [
        ("Describe the brown dog on the lawn.", "A brown dog runs.", ("dog",), 1 / 2),
        ("Describe the brown dog on the lawn.", "A brown dog runs.", (), 2 / 3),
        ("Describe the dog in the video in detail.", "A brown dog runs on the lawn.", ("dog",), 0.0),
        ("The Dark-Haired man?", "It is a dark-haired man, the man.", ("man",), 1.0),
        ("What is it?", "It is there.", (), None),
        ("Describe the dog.", "The dog.", ("dog",), None),
    ],
)
def test_the_share_of_the_reference_that_the_question_tells(question, reference, nouns, share):
    assert leak_share(question, reference, nouns) == pytest.approx(share)
