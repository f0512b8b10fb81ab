"""Components of variance: planted ones are recovered, and the intervals cover them as often as they say."""

import math

import numpy as np
import pytest

from swimlab.stats.hypothesis_tests import Finding, decide
from swimlab.stats.variance_components import components, margin_in_sds


def planted(rng: np.random.Generator, bases: int, orders: int, between: float, within: float) -> np.ndarray:
    return 0.3 + between * rng.normal(size=(bases, 1)) + within * rng.normal(size=(bases, orders))


def test_a_worked_example_by_hand():
    found = components([[1.0, 3.0], [5.0, 7.0], [3.0, 5.0]])
    assert (found.bases, found.orders, found.mean) == (3, 2, 4.0)
    # Means 2, 6, 4: mean squares 8 between (2 degrees of freedom) and 2 within (3).
    assert (found.between.variance, found.within.variance) == (3.0, 2.0)
    assert found.ratio[0] == pytest.approx(math.sqrt(1.5))
    assert found.world_sd == pytest.approx(math.sqrt(5.0))
    # Quantiles of tables: chi-square with 3 degrees of freedom .2158 and 9.348, F(2, 3) at .975 16.04.
    assert found.within.low == pytest.approx(6 / 9.348, rel=1e-3)
    assert found.within.high == pytest.approx(6 / 0.2158, rel=1e-3)
    assert found.between.low == 0.0
    assert found.ratio[1] == 0.0  # 4 / 16.04 is below 1


def test_many_bases_give_the_planted_components():
    found = components(planted(np.random.default_rng(1), 4000, 3, between=0.024, within=0.01))
    assert found.between.sd == pytest.approx(0.024, rel=0.03)
    assert found.within.sd == pytest.approx(0.01, rel=0.03)
    assert found.ratio[0] == pytest.approx(2.4, rel=0.05)


@pytest.mark.parametrize(("between", "within"), [(1.0, 1.0), (3.0, 1.0), (0.3, 1.0)])
def test_the_intervals_of_four_bases_and_three_orders_cover(between, within):
    rng = np.random.default_rng(7)
    hits = np.zeros(3)
    runs = 1000
    for _ in range(runs):
        found = components(planted(rng, 4, 3, between, within))
        assert found.between.low <= max(0.0, found.between.variance) <= found.between.high
        assert found.ratio
        bounds = [found.between.sd_bounds, found.within.sd_bounds, found.ratio[1:]]
        hits += [
            low <= true <= high for (low, high), true in zip(bounds, (between, within, between / within), strict=True)
        ]
    between_rate, within_rate, ratio_rate = hits / runs
    assert between_rate >= 0.935  # conservative: at least 95 % but for chance
    assert within_rate == pytest.approx(0.95, abs=0.025)
    assert ratio_rate == pytest.approx(0.95, abs=0.025)


def test_bases_that_differ_by_less_than_their_orders_have_no_component_of_their_own():
    found = components([[0.0, 2.0], [2.0, 0.0], [0.0, 2.0]])
    assert found.between.variance == -1.0  # shown as 0, and not hidden
    assert (found.between.sd, found.between.low) == (0.0, 0.0)
    assert found.world_sd == pytest.approx(math.sqrt(2.0))


def test_orders_without_a_difference_have_no_ratio():
    found = components([[1.0, 1.0], [2.0, 2.0]])
    assert (found.within.sd, found.ratio) == (0.0, None)
    assert found.between.sd == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1.0, 2.0]], "at least two bases"),
        ([[1.0], [2.0]], "at least two bases"),
        ([[1.0, 2.0], [1.0]], r"orders are \[2, 1\]"),
        ([[1.0, math.nan], [1.0, 2.0]], "finite"),
    ],
)
def test_what_is_no_balanced_design_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        components(values)


@pytest.mark.parametrize(("seeds", "claims"), [(4, 1), (8, 3)])
def test_a_proposed_margin_makes_equal_arms_equivalent_four_times_in_five(seeds, claims):
    margin = margin_in_sds(seeds, 0.05 / 2, claims)
    drawn = np.random.default_rng(3).normal(size=(20_000, 1, seeds))
    # The first step of Holm's procedure: the claim alone at its share of alpha.
    found = decide(drawn.mean(-1), drawn.std(-1, ddof=1), seeds, margin, False, 0.05 / 2 / claims).finding
    # At least: that both one-sided tests reject is bounded by the sum of their errors.
    assert 0.79 <= (found == Finding.INSIDE).mean() <= 0.83
    with pytest.raises(ValueError, match="at least 2"):
        margin_in_sds(1)
