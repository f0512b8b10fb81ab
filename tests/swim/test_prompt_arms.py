"""The arms that question the benchmark: what each asks, and what is drawn on the frames."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import rle
from scipy import ndimage

from swim import registry
from swim.data.annotations.markup import strip_tags
from swim.data.types import Clip, DataError, Turn
from swim.evaluation.choice_prompt import INSTRUCTION
from swim.evaluation.prompts.contour import COLOURS

PROMPTS = "swim.evaluation.prompts"
LEFT, RIGHT = np.zeros((40, 60), dtype=bool), np.zeros((40, 60), dtype=bool)
LEFT[10:20, 5:20], RIGHT[15:35, 40:55] = True, True
OPTIONS = "\n(A) <object3> runs\n(B) it sleeps"


def arm(name, clip):
    return registry.load(PROMPTS, name)(clip)


def clip_of(*turns, masks=()):
    frames = np.full((4, 40, 60, 3), 100, dtype=np.uint8)
    frames.flags.writeable = False  # as frames out of a file
    return Clip("k", tuple(Turn(human=q, gpt=a) for q, a in turns), frames, (0, 1, 2, 3), 4.0, masks)


def lined(frame, colour):
    return (frame == COLOURS[colour]).all(-1)


DOG = clip_of(("Describe the brown <ins>dog</ins> on the lawn.", "It runs."), masks=({0: rle(LEFT), 2: rle(LEFT)},))


def test_noun_only_gives_nothing_of_the_caption_away():
    (prompt,) = arm("noun-only", DOG)
    assert prompt.question == "Describe the <ins>dog</ins> in the video in detail."
    assert prompt.clip is DOG
    for question in ("Who is it?", "The <ins>dog</ins> or the <ins>cat</ins>?"):
        with pytest.raises(DataError, match=r"the question tags [02] nouns"):
            arm("noun-only", clip_of((question, "x")))


def test_letter_asks_for_a_letter_where_there_are_options():
    with_options, without = arm("letter", clip_of(("What?\n(A) one\n(B) two", "(A) one"), ("What is (A) here?", "x")))
    assert with_options.question == f"What?\n(A) one\n(B) two\n{INSTRUCTION}"
    assert without.question == "What is (A) here?"
    assert [p.question for p in arm("text", clip_of(("What?\n(A) one\n(B) two", "")))] == ["What?\n(A) one\n(B) two"]


def test_the_outline_lies_around_the_mask_on_annotated_frames_alone():
    (prompt,) = arm("contour", DOG)
    assert prompt.question == "Describe the brown <ins>dog</ins> (outlined in red) on the lawn."
    drawn = prompt.clip.frames_THWC
    for t in (0, 2):
        line = lined(drawn[t], "red")
        assert not (line & LEFT).any()
        assert (line == (ndimage.binary_dilation(LEFT) & ~LEFT)).all()  # a 120th of 40 pixels is one
        assert (drawn[t][~line] == 100).all()
    assert (drawn[1::2] == 100).all()
    assert (DOG.frames_THWC == 100).all()


def test_placeholders_are_named_by_their_colours():
    question = f"What does <object3><region> do to <object7><region>?{OPTIONS}"
    clip = clip_of((question, "(A) <object3> runs"), masks=({0: rle(LEFT)}, {0: rle(RIGHT)}))
    (prompt,) = arm("contour", clip)
    assert prompt.question == (
        "What does the object outlined in red do to the object outlined in green?\n"
        f"(A) the object outlined in red runs\n(B) it sleeps\n{INSTRUCTION}"
    )
    frame = prompt.clip.frames_THWC[0]
    assert ndimage.binary_fill_holes(lined(frame, "red")).sum() > LEFT.sum()
    assert lined(frame, "green")[15:35, 39].all()


def test_each_turn_shows_its_own_objects_and_equal_masks_are_one():
    left, right = {0: rle(LEFT)}, {1: rle(RIGHT)}
    clip = clip_of(
        ("The <ins>dog</ins>?", "A <ins>dog</ins>."),
        ("The <ins>cat</ins>, this <ins>animal</ins>?", "Yes."),
        ("What else?", "Nothing."),
        masks=(left, left, right, dict(right)),
    )
    first, second, third = arm("contour", clip)
    assert lined(first.clip.frames_THWC[0], "red").any()
    assert (first.clip.frames_THWC[1] == 100).all()
    assert second.question == "The <ins>cat</ins> (outlined in red), this <ins>animal</ins> (outlined in red)?"
    assert (second.clip.frames_THWC[0] == 100).all()
    assert lined(second.clip.frames_THWC[1], "red").any()
    assert (third.question, third.turn, third.clip) == ("What else?", 2, clip)


def test_more_objects_than_colours_are_refused():
    tracks = tuple({0: rle(np.roll(LEFT, n, axis=1))} for n in range(7))
    with pytest.raises(DataError, match="7 objects in a question"):
        arm("contour", clip_of(("<region> " * 7, "x"), masks=tracks))


@pytest.mark.parametrize("name", registry.names(PROMPTS))
def test_every_arm_asks_each_turn_once_about_the_same_clip(name, clips):
    for clip in clips[:3]:
        asked = arm(name, replace(clip))
        assert [prompt.turn for prompt in asked] == list(range(len(clip.turns)))
        assert {prompt.key for prompt in asked} == {clip.key}
        assert [strip_tags(prompt.question)[1] != [] for prompt in asked] == [True] * len(asked)  # its noun is read
