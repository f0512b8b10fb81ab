"""Attention metrics against values worked out by hand, and against the definitions spelled out slowly."""

import numpy as np
import pytest
from scipy import stats

from swim.evaluation import metrics

MAP_N = np.array([0.1, 0.4, 0.2, 0.3])
MASK_N = np.array([False, True, False, True])


def drawn(seed, ties):
    rng = np.random.default_rng(seed)
    map_N = rng.integers(0, 5, 40) / 4 if ties else rng.random(40)
    mask_N = rng.random(40) < 0.3
    mask_N[:2] = True, False
    return map_N.astype(np.float64), mask_N


EVERY = pytest.mark.parametrize(("seed", "ties"), [(seed, ties) for seed in range(5) for ties in (False, True)])


def test_by_hand():
    found = metrics.scores(MAP_N, MASK_N, threshold=0.5)
    assert found == pytest.approx(
        {
            "pointing": 1.0,
            "ap": 1.0,
            "auc": 1.0,
            "nss": (0.35 - 0.25) / np.sqrt(0.0125),
            "mass": 0.7,
            "precision": 1.0,
            "gamepoint_1pct": 1.0,
            "gamepoint_5pct": 1.0,
            "gamepoint_10pct": 1.0,
            "gamepoint_top1": 1.0,
            **{f"gamepoint_top{k}": 0.5 for k in (5, 10, 50, 100)},  # all four pixels, two of them inside
        }
    )
    worst = metrics.scores(MAP_N, ~MASK_N, threshold=0.5)
    assert worst["auc"] == worst["pointing"] == worst["precision"] == worst["gamepoint_10pct"] == 0
    assert worst["ap"] == pytest.approx(0.5 * (1 / 3) + 0.5 * (2 / 4))
    assert worst["mass"] == pytest.approx(0.3)
    assert worst["nss"] == pytest.approx(-found["nss"])


@EVERY
def test_auc_is_the_share_of_pairs_ranked_right(seed, ties):
    map_N, mask_N = drawn(seed, ties)
    pairs = [(a > b) + 0.5 * (a == b) for a in map_N[mask_N] for b in map_N[~mask_N]]
    assert metrics.auc(metrics.Levels.of(map_N, mask_N)) == pytest.approx(np.mean(pairs))
    wanted = stats.mannwhitneyu(map_N[mask_N], map_N[~mask_N]).statistic / len(pairs)
    assert metrics.auc(metrics.Levels.of(map_N, mask_N)) == pytest.approx(wanted)


@EVERY
def test_ap_is_the_sum_over_thresholds(seed, ties):
    map_N, mask_N = drawn(seed, ties)
    wanted, recall_before = 0.0, 0.0
    for threshold in sorted(set(map_N), reverse=True):
        above = map_N >= threshold
        recall = (mask_N & above).sum() / mask_N.sum()
        wanted += (recall - recall_before) * mask_N[above].mean()
        recall_before = recall
    assert metrics.average_precision(metrics.Levels.of(map_N, mask_N)) == pytest.approx(wanted)


# (seed, ties) → average_precision_score, roc_auc_score, and precision_score above .5 and .75, of scikit-learn 1.9.1 on
# the maps of `drawn`. On 300 such maps of each kind AP and AUC were within 2.3e-16 of its values.
SKLEARN = {
    (0, False): (0.3254267875306679, 0.3532763532763533, 0.2916666666666667, 0.1),
    (1, False): (0.3464277823652413, 0.5982142857142857, 0.4, 0.2727272727272727),
    (2, False): (0.2189060503405988, 0.33542319749216304, 0.15, 0.125),
    (0, True): (0.27176833696441544, 0.564516129032258, 0.17647058823529413, 0.2222222222222222),
    (1, True): (0.26149153876426606, 0.47492163009404387, 0.21428571428571427, 0.2),
    (2, True): (0.2826532589320313, 0.640625, 0.29411764705882354, 0.3333333333333333),
}


@pytest.mark.parametrize("drawing", SKLEARN)
def test_scikit_learn_says_the_same(drawing):
    at_half, at_three_quarters = (metrics.scores(*drawn(*drawing), threshold=threshold) for threshold in (0.5, 0.75))
    ours = (at_half["ap"], at_half["auc"], at_half["precision"], at_three_quarters["precision"])
    assert ours == pytest.approx(SKLEARN[drawing], abs=1e-12)


@EVERY
def test_nss_is_the_mean_z_score_inside(seed, ties):
    map_N, mask_N = drawn(seed, ties)
    assert metrics.nss(map_N, mask_N) == pytest.approx(stats.zscore(map_N)[mask_N].mean())


@EVERY
def test_no_metric_depends_on_the_order_of_the_pixels(seed, ties):
    map_N, mask_N = drawn(seed, ties)
    order = np.random.default_rng(9).permutation(len(map_N))
    found, shuffled = (metrics.scores(map_N[i], mask_N[i], threshold=0.5) for i in (slice(None), order))
    assert found == pytest.approx(shuffled)


def test_ties_share():
    map_N = np.array([1.0, 1.0, 1.0, 0.0])
    mask_N = np.array([True, False, False, True])
    levels = metrics.Levels.of(map_N, mask_N)
    assert metrics.pointing(levels) == pytest.approx(1 / 3)
    assert metrics.game_point(levels, 2) == pytest.approx(1 / 3)
    assert metrics.game_point(levels, 3) == pytest.approx(1 / 3)
    assert metrics.game_point(levels, 4) == pytest.approx(1 / 2)
    assert metrics.precision(map_N, mask_N, 0.5) == pytest.approx(1 / 3)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.0])  # numpy's std of ten times 0.1 is not 0
def test_a_constant_map_scores_as_chance(value):
    mask_N = np.arange(10) < 3
    found = metrics.scores(np.full(10, value), mask_N, threshold=0.5)
    assert (found.pop("nss"), found.pop("auc"), found.pop("mass")) == (0.0, 0.5, pytest.approx(0.3 if value else 0))
    assert list(found.values()) == pytest.approx([0.3] * len(found))


def test_game_point_takes_the_top():
    map_N = np.linspace(0, 1, 200)
    found = metrics.scores(map_N, np.arange(200) >= 190, threshold=0.5)
    assert [found[f"gamepoint_{percent}pct"] for percent in (1, 5, 10)] == pytest.approx([1.0, 1.0, 0.5])
    assert [found[f"gamepoint_top{k}"] for k in (1, 10, 50, 100)] == pytest.approx([1.0, 1.0, 0.2, 0.1])


def test_entropy_is_the_logarithm_of_the_cells_looked_at():
    assert metrics.entropy(np.array([0.0, 3.0, 0.0])) == 0
    assert metrics.entropy(np.array([2.0, 0.0, 2.0, 2.0, 2.0])) == pytest.approx(np.log(4))
    assert metrics.entropy(np.zeros(5)) is None
