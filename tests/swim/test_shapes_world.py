"""The embedded data set: the same clip always, true masks, true words, ceilings as published beside the numbers."""

import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from pycocotools import mask as coco

from swim.data.annotations.markup import strip_tags
from swim.data.annotations.samples import parse_row
from swim.data.synthetic import shapes_world
from swim.data.synthetic import vocabulary as words
from swim.data.synthetic.shapes_world import calibration_frames, draw, row, write
from swim.evaluation.answer_ceiling import ceiling
from swim.recipe import ShapesWorld

EASY = ShapesWorld(seed=2)
LOOK = ShapesWorld(difficulty="hard-look", objects=6, seed=3)
ALL_ASKED = LOOK.model_copy(update={"turns": 6})
TWINS = ShapesWorld(difficulty="hard-twins", prompts="attribute", seed=5)
CAPTION = ShapesWorld(prompts="caption", objects=1)
LIST = ShapesWorld(prompts="list", objects=2)
EVERY = pytest.mark.parametrize(
    "config", [EASY, LOOK, TWINS, CAPTION, LIST], ids=lambda c: f"{c.prompts}-{c.difficulty}"
)


drawn = cache(draw)


@pytest.fixture(scope="module", autouse=True)
def _forget():
    """The clips of a module's tests are 100 MB."""
    yield
    drawn.cache_clear()


def parsed(config, index):
    return parse_row(json.loads(json.dumps(row(config, "train", index)[0])), file="train.json", row=index)


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@EVERY
def test_a_clip_depends_on_seed_split_and_index_only(config):
    first = draw(config, "train", 7)
    np.random.seed(0)
    draw(config, "train", 3)
    again = draw(config.model_copy(update={"clips": 9, "held_out": 9}), "train", 7)
    assert first.frames_THWC.tobytes() == again.frames_THWC.tobytes()
    assert first.masks_NTHW.tobytes() == again.masks_NTHW.tobytes()
    assert (first.objects, first.order) == (again.objects, again.order)
    others = [(config, "held_out", 7), (config, "train", 8), (config.model_copy(update={"seed": 99}), "train", 7)]
    assert all(draw(*other).frames_THWC.tobytes() != first.frames_THWC.tobytes() for other in others)


def test_drawing_never_changes_and_needs_no_torch():
    """Frozen: published numbers belong to these words. In a process of its own, as workers draw it."""
    code = (
        "import sys; from swim.recipe import ShapesWorld; from swim.data.synthetic.shapes_world import row\n"
        "print(' '.join(e['value'] for e in row(ShapesWorld(seed=2), 'train', 0)[0]['conversations'][1::2]))\n"
        "print('torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.splitlines() == [
        "The <ins>wave</ins> is small, striped and moves nowhere. "
        "The <ins>cloud</ins> is small, striped and moves left. "
        "The <ins>lemon</ins> is small, striped and moves nowhere.",
        "False",
    ]


@EVERY
def test_masks_are_disjoint_and_every_object_is_seen(config):
    for index in range(20):
        masks_NTHW = draw(config, "train", index).masks_NTHW
        assert masks_NTHW.dtype == np.uint8
        assert masks_NTHW.shape == (config.objects, 4, 64, 64)
        assert masks_NTHW.sum(axis=0).max() == 1
        assert masks_NTHW.any(axis=(2, 3)).all()


def test_the_noun_is_the_colour_under_the_mask_after_the_file_was_decoded(tmp_path):
    palette = np.array(list(words.NOUNS.values()), dtype=float)
    palette /= palette.max(axis=1, keepdims=True)
    for entry, index in zip(write(EASY, "train", range(30), tmp_path), range(30), strict=True):
        scene = draw(EASY, "train", index)
        frames_THWC = decoded(tmp_path / entry["video"])
        assert frames_THWC.shape == (4, 64, 64, 3)
        for thing, mask_THW in zip(scene.objects, scene.masks_NTHW, strict=True):
            colour = frames_THWC[mask_THW > 0].mean(axis=0)
            nearest = np.linalg.norm(palette - colour / colour.max(), axis=1).argmin()
            assert list(words.NOUNS)[nearest] == thing.noun, (index, thing)


def test_size_pattern_and_motion_are_what_the_picture_shows():
    small = large = 0
    for index in range(60):
        scene = draw(ShapesWorld(objects=1), "train", index)
        (thing,), (mask_THW,) = scene.objects, scene.masks_NTHW
        radius = np.sqrt(mask_THW[0].sum() / np.pi) / 64
        assert abs(radius - {"small": 0.10, "large": 0.18}[thing.size]) < 0.01
        small, large = small + (thing.size == "small"), large + (thing.size == "large")
        light_M = scene.frames_THWC[0][mask_THW[0] > 0].max(axis=1)
        assert (light_M.std() > 30) == (thing.pattern == "striped")
        centre_T2 = np.array([np.argwhere(mask_HW).mean(axis=0) for mask_HW in mask_THW])
        assert np.sign(np.diff(centre_T2, axis=0)).astype(int).tolist() == [list(words.MOTIONS[thing.motion])] * 3
    assert min(small, large) > 15


@pytest.mark.parametrize("config", [EASY, LOOK, TWINS], ids=lambda c: c.difficulty)
def test_attributes_are_balanced(config):
    things = [thing for index in range(250) for thing in drawn(config, "train", index).objects]
    for name, values in {**words.VALUES, "noun": tuple(words.NOUNS)}.items():
        counts = Counter(getattr(thing, name) for thing in things)
        # Five standard deviations of a fair draw (nouns of one clip and twins are dependent, hence the room).
        room = 5 * (len(things) / len(values)) ** 0.5
        assert all(abs(counts[value] - len(things) / len(values)) < room for value in values), (name, counts)


def test_nouns_are_distinct_but_for_twins_that_one_attribute_tells_apart():
    for index in range(50):
        assert len({thing.noun for thing in draw(LOOK, "train", index).objects}) == 6
        things = draw(TWINS, "train", index).objects
        first, second = (thing for thing in things if thing.revealed)
        assert len({thing.noun for thing in things}) == 2
        assert first.noun == second.noun
        assert first.revealed == second.revealed
        assert getattr(first, first.revealed) != getattr(second, second.revealed)


@EVERY
def test_rows_parse_and_slots_index_the_words(config):
    for index in range(10):
        sample, scene = parsed(config, index), draw(config, "train", index)
        asked = scene.order if config.prompts in ("caption", "list") else scene.order[: config.turns]
        spoken = [scene.objects[i] for i in asked]
        found = [
            (slot.name, words.plain(turn.gpt)[slot.start : slot.end]) for turn in sample.turns for slot in turn.slots
        ]
        assert found == [
            (name, getattr(thing, name))
            for thing in spoken
            for name in ("size", "pattern", "motion")
            if name != thing.revealed
        ]
        nouns = [span.text for turn in sample.turns for text in (turn.human, turn.gpt) for span in strip_tags(text)[1]]
        if config.prompts in ("caption", "list"):
            assert (nouns, sample.tracks, len(sample.turns)) == ([], (), 1)
        else:
            assert len(sample.turns) == min(config.turns, config.objects)
            assert nouns == [thing.noun for thing in spoken for _ in range(2)]
            for tag, track in enumerate(sample.tracks):
                assert sorted(track) == [0, 1, 2, 3]
                for t, rle in track.items():
                    mask_HW = coco.decode({"size": [rle.height, rle.width], "counts": rle.counts.encode()})
                    assert mask_HW.any()
                    assert (mask_HW == scene.masks_NTHW[scene.order[tag // 2], t]).all()


def test_the_question_never_gives_a_slot_away():
    for index in range(30):
        for turn in parsed(TWINS, index).turns:
            values = {words.plain(turn.gpt)[slot.start : slot.end] for slot in turn.slots}
            assert not values & set(turn.human.replace(".", "").split())


def test_sentences():
    entries = {config.prompts: row(config, "train", 0)[0]["conversations"] for config in (CAPTION, LIST)}
    assert entries["caption"][0]["value"] == "<video>\nDescribe the video."
    assert entries["list"][1]["value"].count("The ") == 2
    assert (
        words.answer("lemon", "small", "striped", "left")[0] == "The <ins>lemon</ins> is small, striped and moves left."
    )
    text, slots = words.answer("lemon", "small", "striped", "left", revealed="size")
    assert text == "The small <ins>lemon</ins> is striped and moves left."
    assert [slot.name for slot in slots] == ["pattern", "motion"]
    assert words.question("lemon", "small") == "Describe the small <ins>lemon</ins>."


def test_the_corpus_holds_every_sentence():
    corpus = " ".join(words.corpus())
    for config in (EASY, TWINS, CAPTION):
        for turn in parsed(config, 1).turns:
            assert words.plain(turn.human) in corpus
            assert words.plain(turn.gpt) in corpus


# The values published beside the tiny recipe's accuracies; 750 to 1,500 nouns leave a standard error near .01.
@pytest.mark.parametrize(("config", "expected"), [(EASY, 0.667), (LOOK, 0.58), (ALL_ASKED, 0.58), (TWINS, 0.68)])
def test_the_ceiling_of_answering_without_looking(config, expected, monkeypatch):
    monkeypatch.setattr(shapes_world, "draw", drawn)
    assert ceiling([parsed(config, index).turns for index in range(250)]) == pytest.approx(expected, abs=0.025)


def test_the_commonest_value_is_that_of_all_objects_asked_about_or_not():
    for index in range(20):
        objects = draw(LOOK, "train", index).objects
        slots = [slot for turn in parsed(LOOK, index).turns for slot in turn.slots]
        (commonest,) = {slot.commonest for slot in slots if slot.name == "size"}
        small = sum(thing.size == "small" for thing in objects)
        assert small == 3 or commonest == ("small" if small > 3 else "large")


def test_the_ceiling_counts_the_commonest_value_of_a_clip():
    turns = parsed(CAPTION, 0).turns
    assert ceiling([turns]) == 1.0
    with pytest.raises(ValueError, match="no turn has a slot"):
        ceiling([tuple(turn.model_copy(update={"slots": ()}) for turn in turns)])


def test_written_files_decode_alike_and_leave_nothing_else(tmp_path: Path):
    rows = write(LOOK, "held_out", [4, 2], tmp_path / "a")
    again = write(LOOK, "held_out", [2, 4], tmp_path / "b")
    assert rows == again[::-1]
    assert [entry["video"] for entry in rows] == ["videos/held_out_000004.mp4", "videos/held_out_000002.mp4"]
    assert sorted(p.name for p in (tmp_path / "a" / "videos").iterdir()) == [
        "held_out_000002.mp4",
        "held_out_000004.mp4",
    ]
    for entry in rows:
        assert (decoded(tmp_path / "a" / entry["video"]) == decoded(tmp_path / "b" / entry["video"])).all()


def test_calibration_frames():
    frames = calibration_frames(3)
    assert (frames.shape, frames.dtype) == ((3, 4, 64, 64, 3), np.uint8)
    assert frames.tobytes() == calibration_frames.__wrapped__(3).tobytes()


@pytest.mark.parametrize("difficulty", ["easy", "hard-look"])
def test_six_objects_always_find_room(difficulty):
    for index in range(40):
        draw(ShapesWorld(difficulty=difficulty, objects=6), "train", index)


@pytest.mark.parametrize(
    ("config", "split", "message"),
    [
        (EASY, "test", "choose one of"),
        (ShapesWorld(difficulty="hard-twins"), "train", "need each other"),
        (ShapesWorld(prompts="attribute"), "train", "need each other"),
        (ShapesWorld(prompts="attribute", difficulty="hard-twins", objects=1), "train", "at least 2"),
        (ShapesWorld(prompts="caption"), "train", "describe one object"),
    ],
)
def test_what_cannot_be_drawn_is_refused(config, split, message):
    with pytest.raises(ValueError, match=message):
        row(config, split, 0)
