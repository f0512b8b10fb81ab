"""The clips that choose are a data set of their own: in no trial's name, and in every evaluation on them."""

import json
from pathlib import Path

import numpy as np
import pytest

import nano
from swim.data.synthetic.drawing import draw
from swim.recipe import NLReferFiles, Recipe, ShapesWorld
from swimlab.identity.naming import Identifier

PLAIN = nano.recipe(base=False)
FRAMES = PLAIN.data.frames


@pytest.fixture
def files(tmp_path: Path) -> NLReferFiles:
    for name in ("train", "reported", "chosen"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"id": name, "video": "v.mp4"}]))
    return NLReferFiles(
        annotations=(str(tmp_path / "train.json"),),
        held_out_annotations=(str(tmp_path / "reported.json"),),
        validation_annotations=(str(tmp_path / "chosen.json"),),
        videos=str(tmp_path),
        frames=FRAMES,
    )


def on(recipe: Recipe, cache: Path, *splits: str) -> list[tuple[str, str]]:
    """Split and id of each evaluation."""
    named = Identifier(cache).identify(recipe, splits)
    return [(evaluation.split, evaluation.evaluation_id) for evaluation in named.evaluations]


def test_a_split_has_evaluations_of_its_own_and_plain_names_stay(tmp_path: Path) -> None:
    more = nano.recipe(base=False, **{"data.validation": 7})
    plain, other = (Identifier(tmp_path).identify(recipe) for recipe in (PLAIN, more))
    assert plain == other
    assert plain.validation is None
    ((_, reported),) = on(PLAIN, tmp_path, "held_out")
    ((split, chosen),) = on(PLAIN, tmp_path, "validation")
    ((_, of_seven),) = on(more, tmp_path, "validation")
    assert (split, len({reported, chosen, of_seven})) == ("validation", 3)
    assert on(PLAIN, tmp_path, "held_out", "validation") == [("held_out", reported), ("validation", chosen)]


def test_data_sets_of_one_seed_share_the_clips_that_choose(tmp_path: Path) -> None:
    identifier = Identifier(tmp_path)

    def named(**data: int) -> str:
        return identifier.validation(nano.recipe(base=False, data=ShapesWorld(**data))).clips_fingerprint

    first = named(clips=12, held_out=4)
    assert named(clips=300, held_out=9, validation=4) == first
    assert len({first, named(clips=12, held_out=5), named(clips=12, held_out=4, seed=1)}) == 3


def test_every_split_draws_other_clips() -> None:
    frames = [draw(PLAIN.data, split, 0).frames_THWC for split in ("train", "held_out", "validation")]
    assert not any(np.array_equal(frames[a], frames[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_rows_that_choose_rename_their_evaluations_alone(files: NLReferFiles, tmp_path: Path) -> None:
    recipe = nano.recipe(base=False, data=files)

    def names() -> tuple[str, str, str]:
        named = Identifier(tmp_path / "cache").identify(recipe, ("held_out", "validation"))
        return named.trial_id, *(evaluation.evaluation_id for evaluation in named.evaluations)

    before = names()
    Path(files.validation_annotations[0]).write_text(json.dumps([{"id": "another", "video": "v.mp4"}]))
    after = names()
    assert after[:2] == before[:2]
    assert after[2] != before[2]
    Path(files.held_out_annotations[0]).write_text(json.dumps([{"id": "another", "video": "v.mp4"}]))
    assert len({*names(), *after}) == 6


def test_rows_may_not_choose_and_be_trained_on_or_reported(files: NLReferFiles, tmp_path: Path) -> None:
    for other in (files.annotations, files.held_out_annotations):
        with pytest.raises(ValueError, match=f"validation_annotations names '{other[0]}', which is trained on or rep"):
            NLReferFiles(**files.model_dump() | {"validation_annotations": other})
    without = nano.recipe(base=False, data=files.model_copy(update={"validation_annotations": ()}))
    Identifier(tmp_path / "cache").identify(without)
    with pytest.raises(ValueError, match=r"data\.validation_annotations names no file"):
        Identifier(tmp_path / "cache").identify(without, ("validation",))
