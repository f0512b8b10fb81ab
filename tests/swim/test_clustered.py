"""The mean of rows in clusters: what it equals, what it covers, and where there is no interval."""

import numpy as np
import pytest
from scipy import stats

from swim.evaluation.clustered import ClusteredMean, clustered_difference, clustered_mean


def test_clusters_of_one_row_give_the_t_interval():
    x = np.random.default_rng(0).normal(size=20)
    low, high = stats.t.interval(0.95, 19, x.mean(), stats.sem(x))
    error = pytest.approx(stats.sem(x))
    wanted = ClusteredMean(pytest.approx(x.mean()), 20, 20, error, pytest.approx(low), pytest.approx(high))
    assert clustered_mean(x, range(20)) == wanted


def test_copies_of_rows_add_no_certainty():
    x = np.random.default_rng(1).normal(size=20)
    once, five_times = clustered_mean(x, range(20)), clustered_mean(np.repeat(x, 5), np.repeat(range(20), 5).tolist())
    assert (five_times.low, five_times.high) == pytest.approx((once.low, once.high))


def test_the_interval_covers_where_the_binomial_one_does_not():
    """200 videos' worth of what Bench-Q is: rows of one video are right or wrong together."""
    rng = np.random.default_rng(2)
    hits = naive = 0
    for _ in range(400):
        level = rng.beta(2, 1, 60)
        rows = [rng.random(5) < p for p in level]
        values = np.concatenate(rows).astype(float)
        interval = clustered_mean(values, np.repeat(range(60), 5).tolist())
        hits += interval.low <= 2 / 3 <= interval.high
        error = np.sqrt(values.mean() * (1 - values.mean()) / len(values))
        naive += abs(values.mean() - 2 / 3) <= 1.96 * error
    assert 0.92 <= hits / 400 <= 0.98
    assert naive / 400 < 0.9


@pytest.mark.parametrize(("values", "clusters"), [([1.0, 1.0, 1.0], "abc"), ([0.0, 1.0], "aa"), ([0.1] * 10, "ab" * 5)])
def test_without_spread_there_is_no_interval(values, clusters):
    mean = clustered_mean(values, clusters)
    assert (mean.low, mean.high) == (None, None)


@pytest.mark.parametrize(("values", "clusters"), [([], ""), ([1.0], "ab"), ([float("nan"), 1.0], "ab")])
def test_bad_input_is_refused(values, clusters):
    with pytest.raises(ValueError, match="finite values with one cluster each"):
        clustered_mean(values, clusters)


def test_a_difference_of_groups_is_the_regression_with_clustered_errors():
    """Ordinary least squares on a dummy, with the sandwich of Liang and Zeger written out."""
    rng = np.random.default_rng(3)
    clusters = rng.integers(0, 15, 80)
    group = (rng.random(80) < 0.4).astype(float)
    y = rng.normal(size=80) + rng.normal(size=15)[clusters] + 0.7 * group
    X = np.stack([np.ones(80), group], axis=1)
    bread = np.linalg.inv(X.T @ X)
    beta = bread @ X.T @ y
    sums = np.stack([(X * (y - X @ beta)[:, None])[clusters == g].sum(0) for g in range(15)])
    error = np.sqrt((bread @ (sums.T @ sums) @ bread)[1, 1] * 15 / 14)
    sides = [[(v, c) for v, c, g in zip(y, clusters.tolist(), group, strict=True) if g == side] for side in (1, 0)]
    difference = clustered_difference(*sides)
    assert (difference.mean, difference.error) == pytest.approx((beta[1], error))
    assert (difference.rows, difference.clusters) == (80, 15)
    assert difference.high - difference.mean == pytest.approx(stats.t.ppf(0.975, 14) * error)
    with pytest.raises(ValueError, match="on both sides: 0 and 1"):
        clustered_difference([], [(1.0, "a")])
