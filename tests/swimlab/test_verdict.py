import math

import numpy as np
import pytest
from scipy import stats

from swimlab import verdict
from swimlab.verdict import Evidence, Verdict, a_a_differences, detectable_in_sds, holm, interval, judge


def one(*differences, **fields):
    return judge([Evidence(differences, **fields)])[0]


def test_interval_against_numbers_worked_by_hand():
    # mean 2, sd 1, t(.975, 2) = 4.30265: half-width 4.30265/√3.
    seen = interval([1.0, 2.0, 3.0])
    assert (seen.mean, seen.sd) == (2.0, 1.0)
    assert seen.high == pytest.approx(2 + 2.48414, abs=1e-5)
    assert interval([5.0]).low is None
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(ValueError, match="finite"):
            interval(bad)


def test_p_is_the_paired_t_test_of_scipy():
    a, b = [0.65, 0.67, 0.64, 0.66], [0.63, 0.66, 0.645, 0.64]
    outcome = one(*(x - y for x, y in zip(a, b, strict=True)))
    assert outcome.p_holm == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_holm_against_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_every_verdict_is_reached():
    assert one(0.20, 0.21, 0.19, paper_gap=0.2).verdict is Verdict.REPRODUCED
    assert one(0.20, 0.21, 0.19, paper_gap=0.4).verdict is Verdict.SHIFTED
    assert one(-0.20, -0.21, -0.19, margin=0.1).verdict is Verdict.CONTRADICTED
    assert one(0.001, -0.002, 0.0, margin=0.05).verdict is Verdict.EQUIVALENT
    assert one(0.2, -0.1, 0.1, margin=0.05).verdict is Verdict.UNDERPOWERED
    assert one(0.2).verdict is Verdict.UNDERPOWERED
    assert one().verdict is Verdict.NOT_RUN


def test_a_standin_gives_a_direction_and_no_gap():
    outcome = one(0.20, 0.21, 0.19, direction_only=True)
    assert outcome.verdict is Verdict.REPRODUCED
    assert "direction only" in outcome.reason
    assert "paper" not in outcome.reason


def test_mixed_numerics_give_no_verdict_and_no_p():
    outcomes = judge([Evidence((0.2, 0.21, 0.19)), Evidence(())], mixed=True)
    assert [o.verdict for o in outcomes] == [None, Verdict.NOT_RUN]
    assert outcomes[0].p_holm is None
    assert "MIXED" in outcomes[0].reason


def test_non_inferiority_is_tested_at_minus_margin():
    slightly_worse = (-0.01, -0.012, -0.008)
    assert one(*slightly_worse, margin=0.05, non_inferiority=True).verdict is Verdict.REPRODUCED
    assert one(*slightly_worse, margin=0.005, non_inferiority=True).verdict is Verdict.CONTRADICTED
    assert one(*slightly_worse, margin=0.05).verdict is Verdict.EQUIVALENT


def test_identical_trials_are_equivalent_and_constant_differences_decided():
    same = one(0.0, 0.0, 0.0)
    assert (same.verdict, same.reason) == (Verdict.EQUIVALENT, "identical in every seed")
    assert one(0.1, 0.1).verdict is Verdict.REPRODUCED
    assert one(-0.1, -0.1).verdict is Verdict.CONTRADICTED


def test_holm_takes_back_what_one_claim_alone_would_get():
    borderline = Evidence((0.10, 0.15, 0.06, 0.05))
    assert judge([borderline])[0].verdict is Verdict.REPRODUCED
    outcome = judge([borderline, Evidence((0.1, -0.1, 0.02, -0.03))])[0]
    assert outcome.verdict is Verdict.UNDERPOWERED
    assert "not after Holm over 2 claims" in outcome.reason


def test_seeds_needed_has_the_power_it_says():
    evidence = Evidence((0.3, -0.1, 0.25))
    outcome = judge([evidence])[0]
    assert outcome.seeds_needed is not None
    n, effect = outcome.seeds_needed, outcome.interval.mean / outcome.interval.sd

    def found(seeds):
        draws = np.random.default_rng(3).normal(effect, 1, (20_000, seeds))
        t = draws.mean(1) / (draws.std(1, ddof=1) / math.sqrt(seeds))
        return float((t > stats.t.ppf(0.975, seeds - 1)).mean())

    assert found(n) > 0.79
    assert found(n - 1) < 0.81
    assert judge([Evidence((0.001, -0.001, 0.0))])[0].seeds_needed is None
    assert 3 < verdict.seeds_to_settle(Evidence((0.04, -0.04, 0.0), margin=0.05)) < 20


def test_detectable_difference_shrinks_with_seeds_and_grows_with_claims():
    assert detectable_in_sds(1) == math.inf
    three, eight = detectable_in_sds(3), detectable_in_sds(8)
    assert three > 2 * eight > 2
    assert detectable_in_sds(8, claims=3) > eight
    # scipy.stats beside the scipy.special that the module uses.
    power = stats.nct.sf(stats.t.ppf(0.975, 7), 7, eight * math.sqrt(8))
    assert power == pytest.approx(0.8, abs=1e-6)


def test_weigh_pairs_by_seed_and_drops_incomplete_seeds():
    values = {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {1: 0.5, 2: 0.5, 9: 7.0}}
    assert verdict.weigh({"a": 1, "b": -1}, values) == {1: 1.5, 2: 2.5}
    assert verdict.weigh({"a": 1, "c": -1}, values) == {}


def test_a_a_pairs_each_seed_with_another():
    assert a_a_differences([5.0]) == []
    assert a_a_differences([5.0, 3.0]) == [2.0]
    assert a_a_differences([1.0, 2.0, 4.0]) == [-1.0, -2.0]
    assert a_a_differences([1.0, 2.0, 4.0, 8.0]) == [-3.0, -6.0]
    assert a_a_differences([1.0, 2.0, 4.0, 8.0, 16.0]) == [-3.0, -6.0]


TABLES = 1000
# Three standard errors of a rate of 5 % over 1000 tables.
SLACK = 3 * math.sqrt(0.05 * 0.95 / TABLES)


def tables(seed, effects, seeds, claimant=0.0):
    """Ablations with planted effects: claimant minus each rival, sharing the claimant's noise (correlated claims)."""
    rng = np.random.default_rng(seed)
    for _ in range(TABLES):
        ours = claimant + rng.normal(0, 0.01, seeds)
        yield [Evidence(tuple(ours - (claimant - e + rng.normal(0, 0.01, seeds))), margin=0.005) for e in effects]


@pytest.mark.parametrize("seeds", [3, 6])
def test_no_effect_no_claim_in_ninety_five_of_a_hundred_tables(seeds):
    false = sum(any(o.verdict is Verdict.REPRODUCED for o in judge(t)) for t in tables(1, (0.0, 0.0, 0.0), seeds))
    # Family-wise and two-sided: at most 5 %, half of it in the claimed direction.
    assert 0 < false / TABLES <= 0.05 + SLACK


def test_planted_effects_are_found_and_false_ones_are_not_among_them():
    verdicts = np.array([[o.verdict for o in judge(t)] for t in tables(2, (0.06, 0.0, -0.06), 8)])
    assert (verdicts[:, 0] == Verdict.REPRODUCED).mean() > 0.99
    assert (verdicts[:, 1] == Verdict.REPRODUCED).mean() <= 0.05 + SLACK
    assert (verdicts[:, 2] == Verdict.CONTRADICTED).mean() > 0.99


def test_a_difference_at_the_margin_is_rarely_called_equivalent_or_contradicted():
    verdicts = np.array([[o.verdict for o in judge(t)] for t in tables(4, (-0.005,), 6)])
    assert (verdicts == Verdict.CONTRADICTED).mean() <= 0.025 + SLACK
    assert (verdicts == Verdict.EQUIVALENT).mean() <= 0.025 + SLACK


def test_the_a_a_row_says_no_difference():
    rng = np.random.default_rng(5)
    for seeds, rate in ((4, 0.05), (8, 0.05), (3, 0.05)):
        alarms = 0
        for _ in range(TABLES):
            seen = interval(a_a_differences(list(rng.normal(0.6, 0.01, seeds))))
            alarms += not seen.low <= 0 <= seen.high
        assert alarms / TABLES <= rate + SLACK
