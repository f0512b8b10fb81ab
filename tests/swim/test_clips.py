"""Where clips come from must not matter; a fraction of the data is a set that larger fractions contain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swim.data.clips import InMemoryClips, as_clips, in_fraction, subset
from swim.recipe import Optim
from swim.train import batch_plan, reading_plan, train

KEYS = [f"file:{i:08d}:id{i}" for i in range(4000)]


@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=2))
def test_fractions_are_nested(fractions: list[float]) -> None:
    small, large = sorted(fractions)
    assert set(subset(KEYS[:300], small).tolist()) <= set(subset(KEYS[:300], large).tolist())


def test_a_fraction_is_about_that_share_and_depends_on_the_key_alone() -> None:
    for fraction in (0.1, 0.25, 0.5, 0.9):
        kept = subset(KEYS, fraction)
        assert abs(len(kept) - fraction * len(KEYS)) < 4 * np.sqrt(fraction * (1 - fraction) * len(KEYS))
        shuffled = list(reversed(KEYS))
        assert {shuffled[i] for i in subset(shuffled, fraction)} == {KEYS[i] for i in kept}
    assert subset(KEYS, 1.0).tolist() == list(range(len(KEYS)))
    assert [in_fraction(key, 0.5) for key in ("a", "b", "c", "d")] == [False, True, True, True]  # frozen: names trials


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_the_batches_of_the_fraction(nano, world: int) -> None:
    recipe = nano.override({"data.fraction": 0.25, "optim": Optim(steps=40, batch=8)})
    plans = [reading_plan(KEYS[:200], recipe, rank, world) for rank in range(world)]
    together = np.stack(plans, axis=2).reshape(40, 8)
    chosen = subset(KEYS[:200], 0.25)
    assert set(together.ravel().tolist()) == set(chosen.tolist())
    np.testing.assert_array_equal(together, chosen[batch_plan(len(chosen), recipe.optim, recipe.seed)])


def test_training_reads_what_the_plan_says_and_only_that(nano, clips) -> None:
    class Watched(InMemoryClips):
        def read(self, order):
            self.asked = list(order)
            return super().read(self.asked)

    watched = Watched(clips)
    trained = train(nano, watched)
    assert watched.asked == reading_plan(watched.keys, nano, 0, 1).ravel().tolist()
    assert trained.curve == train(nano, clips).curve
    assert trained.clips == len(clips)
    assert 0 <= trained.data_wait_s < 60

    part = nano.override({"data.fraction": 0.5})
    train(part, watched)
    assert set(watched.asked) <= set(subset(watched.keys, 0.5).tolist())
    with pytest.raises(ValueError, match=r"no clips to train on: 1 clips, of which data\.fraction is 0\.001"):
        train(nano.override({"data.fraction": 0.001}), clips[:1])


def test_clips_that_end_early_are_an_error(nano, clips) -> None:
    class Short(InMemoryClips):
        def read(self, order):
            return super().read(list(order)[:-1])

    with pytest.raises(RuntimeError, match="ended 1 short of the plan"):
        train(nano, Short(clips))
    assert as_clips(watched := InMemoryClips(clips)) is watched
