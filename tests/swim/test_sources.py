"""How often an epoch reads a row, and whose masks are trained on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swim.data import sources
from swim.data.annotations.samples import sample_key
from swim.data.clips import as_clips
from swim.data.sources import Mixture
from swim.recipe import NLReferFiles, Optim, Source
from swim.train import batch_plan, reading_plan, train


def data(*entries: Source, **fields) -> NLReferFiles:
    files = {"annotations": ("in/refer.json", "refer.chat.jsonl"), "videos": "."}
    return NLReferFiles(**files | fields, sources=entries)


def keys(file: str, rows: int) -> list[str]:
    return [sample_key({"id": "x"}, file=file, row=row) for row in range(rows)]


REFER, CHAT = keys("in/refer.json", 30), keys("refer.chat.jsonl", 40)


@given(st.floats(0.001, 5), st.integers(1, 30))
def test_rows_are_read_as_often_as_their_weight_says(weight: float, epochs: int) -> None:
    mixed = sources.mixture(REFER + CHAT, data(Source(file="refer.chat.jsonl", weight=weight)))
    assert mixed.rows == pytest.approx(30 + 40 * weight)
    read = np.concatenate([mixed.epoch(number) for number in range(epochs)])
    counts = np.bincount(read, minlength=70)
    assert (counts[:30] == epochs).all()
    # Rows take turns: none is ahead of another by more than one.
    assert counts[30:].max() - counts[30:].min() <= 1
    assert abs(counts[30:].sum() - 40 * weight * epochs) < 1 + 1e-6


def test_whose_turn_it_is_depends_on_the_keys_alone() -> None:
    quarter = data(Source(file="refer.chat.jsonl", weight=0.25))
    mixed = sources.mixture(REFER + CHAT, quarter)
    other = sources.mixture([*reversed(CHAT), *REFER], quarter)
    names, reordered = REFER + CHAT, [*reversed(CHAT), *REFER]
    for number in range(4):
        assert {names[i] for i in mixed.epoch(number)} == {reordered[i] for i in other.epoch(number)}
    parts = [set(mixed.epoch(number)) - set(range(30)) for number in range(4)]
    assert sorted(map(len, parts)) == [10] * 4
    assert len(set.union(*parts)) == 40


def test_without_sources_the_plan_is_what_it_was(nano) -> None:
    optim = Optim(steps=9, batch=4)
    order = np.concatenate([np.random.default_rng([7, epoch]).permutation(11) for epoch in range(4)])
    np.testing.assert_array_equal(batch_plan(11, optim, 7), order[:36].reshape(9, 4))
    np.testing.assert_array_equal(
        batch_plan(11, optim, 7, sources.mixture(REFER[:11], data())), order[:36].reshape(9, 4)
    )
    recipe = nano.override({"data": data(Source(file="refer.json"), frames=nano.data.frames)})
    plain = nano.override({"data": data(frames=nano.data.frames)})
    np.testing.assert_array_equal(reading_plan(REFER, recipe, 0, 1), reading_plan(REFER, plain, 0, 1))
    assert Mixture.even(5).epoch(3).tolist() == [0, 1, 2, 3, 4]


def test_a_key_of_no_file_is_refused_where_it_matters() -> None:
    with pytest.raises(
        ValueError, match=r"clip 'other:0' is of none of data.annotations, refer.json, refer.chat.jsonl"
    ):
        sources.mixture(["other:0"], data(Source(file="refer.json", weight=2)))
    assert sources.mixture(["other:0"], data()).rows == 1


def test_epochs_are_counted_in_rows_of_the_fraction_and_their_weights(nano) -> None:
    own = data(Source(file="refer.chat.jsonl", weight=0.5), frames=nano.data.frames)
    recipe = nano.override({"data": own, "optim.epochs": 2})
    assert sources.with_steps(recipe, REFER + CHAT).optim.steps == 25  # 2 · (30 + 20) ÷ 4
    half = sources.with_steps(recipe.override({"data.fraction": 0.5}), REFER + CHAT).optim.steps
    assert 8 <= half <= 17
    assert sources.with_steps(nano, REFER) is nano


def test_training_for_epochs_is_training_for_their_steps(nano, clips) -> None:
    trained = train(nano.override({"optim.epochs": 1}), clips)  # six clips, four a step
    assert max(point.step for point in trained.curve) == 2
    assert trained.curve == train(nano.override({"optim.steps": 2}), clips).curve


def test_text_sources_train_without_masks(nano, clips) -> None:
    files = {"annotations": tuple({f"{clip.key.split(':')[0]}.json" for clip in clips}), "frames": nano.data.frames}
    assert all(clip.masks for clip in clips)
    text = data(*(Source(file=file, loss="text") for file in files["annotations"]), **files)
    read = list(sources.without_text_masks(as_clips(clips), text).read([2, 0]))
    assert [clip.key for clip in read] == [clips[2].key, clips[0].key]
    assert [clip.masks for clip in read] == [(), ()]
    assert clips[0].masks
    assert sources.without_text_masks(as_clips(clips), data(**files)).keys == [clip.key for clip in clips]

    trained = train(nano.override({"data": text, "optim.steps": 1}), clips)
    values = {point.name: point.value for point in trained.curve}
    assert values["mask_loss"] == 0
    assert values["text_loss"] > 0


def test_a_folder_may_end_in_a_slash() -> None:
    twice = Source(file="rows", weight=2)
    assert list(sources.sources_of(["rows:00000000:r"], data(twice, annotations=("here/rows/",)))) == [twice]
