"""The judge that knows the truth: planted answers get planted scores, and its ceiling is an answer's score."""

from dataclasses import replace

import pytest

from swim.data.annotations.markup import strip_tags
from swim.data.synthetic import vocabulary as words
from swim.data.synthetic.shapes_world import row
from swim.data.types import AnswerSlot, ReferSample, Turn
from swim.evaluation.answer_ceiling import commonest
from swim.evaluation.description_judge import AXES, can_judge, ceiling, judge
from swim.evaluation.evaluate import run_suite
from swim.evaluation.scorers import described as scorer
from swim.evaluation.scoring import Asked
from swim.recipe import ShapesWorld
from swim.train import Trained, encoder_for


def turn(noun="lemon", size="small", pattern="striped", motion="left", revealed=""):
    told = {"size": size, "pattern": pattern}.get(revealed, "")
    text, slots = words.answer(noun, size, pattern, motion, revealed=revealed)
    return Turn(human=words.question(noun, told), gpt=text, slots=slots)


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("The lemon is small, striped and moves left.", (5, 5, 5, 5)),
        ("The plum is small, striped and moves left.", (0, 5, 5, 3.75)),
        ("The lemon is large, striped and moves left.", (5, 2.5, 5, 3.75)),
        ("The lemon is large, plain and moves up.", (5, 0, 0, 1.25)),
        ("The lemon moves left, and it is small and striped.", (5, 5, 5, 5)),
        ("A LEMON.", (5, 0, 0, 5)),
        # A second object: no other axis sees it.
        ("The lemon is small, striped and moves left. The plum is large.", (5, 5, 5, 5 * 4 / 6)),
        ("The lemon is small, small, small.", (5, 2.5, 0, 5)),
        ("The lemonade is smallish.", (0, 0, 0, 0)),
        ("", (0, 0, 0, 0)),
    ],
)
def test_planted_answers_get_planted_scores(text, scores):
    found = judge(text, turn())
    assert tuple(found[axis] for axis in AXES) == pytest.approx(scores)
    assert found["avg"] == pytest.approx(sum(scores) / 4)


def test_what_the_question_tells_is_true_and_no_merit():
    asked = turn(revealed="size")
    assert judge("The small lemon is striped and moves left.", asked) == dict.fromkeys((*AXES, "avg"), 5.0)
    large = judge("The large lemon is plain and moves left.", asked)
    assert (large["appearance"], large["hallucination"]) == (0, 2.5)


def test_the_ceiling_is_the_score_of_answering_with_the_commonest_values(clips):
    for clip in clips:
        values = {}
        for other in clip.turns:
            for slot in other.slots:
                values.setdefault(slot.name, []).append(other.word_at(slot))
        for number, one in enumerate(clip.turns):
            guess = {slot.name: slot.commonest or commonest(values[slot.name]) for slot in one.slots}
            noun = strip_tags(one.human)[1][0].text
            said = strip_tags(words.answer(noun, **guess)[0])[0]
            assert ceiling(clip.turns, number) == pytest.approx(judge(said, one))
    assert any(ceiling(clip.turns, 0)["avg"] < 5 for clip in clips)


@pytest.mark.parametrize(
    "other",
    [
        Turn(human="Describe the <ins>dog</ins>.", gpt="It runs."),
        Turn(human="Describe the lemon.", gpt="It runs.", slots=(AnswerSlot(name="motion", start=3, end=7),)),
        Turn(
            human="Describe the <ins>lemon</ins>.", gpt="It runs.", slots=(AnswerSlot(name="motion", start=3, end=7),)
        ),
    ],
)
def test_turns_of_other_words_cannot_be_judged(other):
    assert not can_judge(other)
    assert can_judge(turn())


@pytest.fixture
def trained(nano, model, tokenizer):
    return Trained(model.eval(), tokenizer, encoder_for(nano, model, tokenizer), [])


def test_the_suite_keeps_the_answers_it_judged(nano, trained, clips):
    recipe = nano.override({"evaluation": {"described": {"answers": 4, "max_new_tokens": 5}}})
    result = run_suite("described", recipe, trained, clips)
    assert [(answer.key, answer.turn) for answer in result.answers] == [(clip.key, 0) for clip in clips[:4]]
    assert result.metrics["described.answers"] == 4
    assert result.metrics["described.ceiling.subject"] == 5
    ended = [answer.finish == "stop" for answer in result.answers]
    assert result.metrics["described.unfinished"] == 1 - sum(ended) / 4
    for answer, clip in zip(result.answers, clips, strict=False):
        rows = {score.metric: score.value for score in result.scores if score.key == answer.key}
        assert rows["described.avg"] == judge(answer.text, clip.turns[0])["avg"]
    untagged = [replace(clip, turns=(Turn(human="Describe the video.", gpt="Nothing."),), masks=()) for clip in clips]
    assert run_suite("described", recipe, trained, untagged).metrics == {"described.answers": 0}


def test_the_scorer_judges_stored_answers_alike(nano, trained, clips):
    recipe = nano.override({"evaluation": {"described": {"max_new_tokens": 5}}})
    result = run_suite("described", recipe, trained, clips)
    samples = [
        ReferSample(key=clip.key, file="f.json", row=i, video="v.mp4", turns=clip.turns) for i, clip in enumerate(clips)
    ]
    asked = [Asked(answer, sample) for answer, sample in zip(result.answers, samples, strict=True)]
    scored = scorer.score(scorer.Config(), asked, lambda questions: pytest.fail("somebody was asked"))
    assert (scored.metrics, scored.scores) == (result.metrics, result.scores)


def test_every_drawn_question_about_an_object_can_be_judged():
    for data in (ShapesWorld(), ShapesWorld(prompts="attribute", difficulty="hard-twins")):
        entry, _ = row(data, "held_out", 0)
        human, gpt = entry["conversations"][:2]
        slots = tuple(AnswerSlot(**slot) for slot in gpt["slots"])
        assert can_judge(Turn(human=human["value"].removeprefix("<video>\n"), gpt=gpt["value"], slots=slots))
