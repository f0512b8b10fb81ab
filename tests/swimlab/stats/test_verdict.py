import math

import numpy as np
import pytest
from scipy import stats

import simulated_ablations
from simulated_ablations import Case, differences, findings
from swimlab.report import number_format
from swimlab.stats import intervals, verdicts
from swimlab.stats.hypothesis_tests import Finding
from swimlab.stats.intervals import a_a_differences, interval
from swimlab.stats.pairing import Origin
from swimlab.stats.power import detectable_in_sds
from swimlab.stats.verdicts import ClaimData, Verdict, holm, judge


def one(*differences, **fields):
    return judge([ClaimData(differences, **fields)])[0]


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
    outcomes = judge([ClaimData((0.2, 0.21, 0.19)), ClaimData(()), ClaimData((), unpaired=2)], mixed=True)
    assert [o.verdict for o in outcomes] == [None, Verdict.NOT_RUN, None]
    assert "not paired: 2" in outcomes[2].reason
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
    borderline = ClaimData((0.10, 0.15, 0.06, 0.05))
    assert judge([borderline])[0].verdict is Verdict.REPRODUCED
    outcome = judge([borderline, ClaimData((0.1, -0.1, 0.02, -0.03))])[0]
    assert outcome.verdict is Verdict.UNDERPOWERED
    assert "not after Holm over 2 claims" in outcome.reason


def test_seeds_needed_has_the_power_it_says():
    evidence = ClaimData((0.3, -0.1, 0.25))
    outcome = judge([evidence])[0]
    assert outcome.seeds_needed is not None
    n, effect = outcome.seeds_needed, outcome.interval.mean / outcome.interval.sd

    def found(seeds):
        draws = np.random.default_rng(3).normal(effect, 1, (20_000, seeds))
        t = draws.mean(1) / (draws.std(1, ddof=1) / math.sqrt(seeds))
        return float((t > stats.t.ppf(0.975, seeds - 1)).mean())

    assert found(n) > 0.79
    assert found(n - 1) < 0.81
    assert judge([ClaimData((0.001, -0.001, 0.0))])[0].seeds_needed is None
    assert 3 < verdicts.seeds_to_settle(ClaimData((0.04, -0.04, 0.0), margin=0.05)) < 20


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
    assert intervals.paired_differences({"a": 1, "b": -1}, values) == {1: 1.5, 2: 2.5}
    assert intervals.paired_differences({"a": 1, "c": -1}, values) == {}


def test_weigh_leaves_out_seeds_whose_trials_may_not_be_compared():
    here, there = (Origin((("cpu_capability", name),), (), "w") for name in ("AVX512", "DEFAULT"))
    values = {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {0: 0.5, 1: 0.5, 2: 0.5}}
    origins = {"a": {0: here, 1: here, 2: there}, "b": {0: here, 1: there, 2: there}}
    assert intervals.paired_differences({"a": 1, "b": -1}, values, origins=origins) == {0: 0.5, 2: 2.5}
    assert intervals.paired_differences({"a": 1}, values, origins=origins) == values["a"]


def test_seeds_of_one_trial_are_one_replicate():
    values = {"base": {0: 0.5, 1: 0.5, 2: 0.5}, "swim": {0: 0.6, 1: 0.7, 2: 0.8}}
    trials = {"base": dict.fromkeys(range(3), "b"), "swim": {0: "s0", 1: "s1", 2: "s2"}}
    assert intervals.paired_differences({"base": 1}, values, trials, above=0.25) == {0: 0.25}
    assert intervals.paired_differences({"swim": 1, "base": -1}, values, trials) == pytest.approx(
        {0: 0.1, 1: 0.2, 2: 0.3}
    )


def test_a_a_pairs_each_seed_with_another():
    assert a_a_differences([5.0]) == []
    assert a_a_differences([5.0, 3.0]) == [2.0]
    assert a_a_differences([1.0, 2.0, 4.0]) == [-1.0, -2.0]
    assert a_a_differences([1.0, 2.0, 4.0, 8.0]) == [-3.0, -6.0]
    assert a_a_differences([1.0, 2.0, 4.0, 8.0, 16.0]) == [-3.0, -6.0]


TABLES = 2000
# Three standard errors of a rate of 5 %.
SLACK = 3 * math.sqrt(0.05 * 0.95 / TABLES)


def tables_with(finding, *effects, claims=None, **fields):
    found = findings(Case(effects=effects, **fields), TABLES, seed=1)
    return simulated_ablations.tables_with(found, finding, claims).value


@pytest.mark.parametrize("noise", ["normal", "shared", "heavy"])
@pytest.mark.parametrize("claims", [1, 3, 12])
@pytest.mark.parametrize("seeds", [3, 5, 8])
def test_without_an_effect_nineteen_tables_of_twenty_reproduce_nothing(seeds, claims, noise):
    false = tables_with(Finding.ABOVE, *[0.0] * claims, seeds=seeds, noise=noise)
    # Two-sided: half of the 5 % is for the direction claimed. Heavy tails make the t test cautious.
    assert 0 < false <= 0.025 + SLACK
    # The step-down lends what true claims leave; the others are still false in at most one table of twenty.
    mixed = [20.0] * (claims // 2) + [0.0] * (claims - claims // 2)
    null = np.array(mixed) == 0
    assert tables_with(Finding.ABOVE, *mixed, claims=null, seeds=seeds, noise=noise) <= 0.025 + SLACK


@pytest.mark.parametrize(("seeds", "claims"), [(3, 1), (5, 3), (8, 12)])
def test_what_plan_calls_detectable_is_found_four_times_in_five(seeds, claims):
    effect = detectable_in_sds(seeds, claims=claims)
    alone = np.arange(claims) == 0
    found = tables_with(Finding.ABOVE, effect, *[0.0] * (claims - 1), claims=alone, seeds=seeds)
    assert found == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / TABLES))


def test_at_the_margin_every_wrong_verdict_is_rare():
    # A margin of ten SDs: wide enough for the tests to be at their full size, where they err most.
    for wrong, effect, fields in (
        (Finding.BELOW, -10.0, {}),
        (Finding.INSIDE, -10.0, {}),
        (Finding.ABOVE, -10.0, {"non_inferiority": True}),
    ):
        for seeds in (3, 8):
            rate = tables_with(wrong, *[effect] * 3, seeds=seeds, margin=10.0, **fields)
            assert 0 < rate <= 0.025 + SLACK, (wrong, effect, seeds)


@pytest.mark.parametrize(
    "case",
    [
        Case(3, (0.0, 4.0, -4.0, 0.5), margin=1.0),
        Case(5, (0.0, 2.0, -3.0), margin=2.0, non_inferiority=True, noise="heavy"),
        Case(8, (1.0,), noise="skewed"),
    ],
)
def test_simulated_tables_get_the_verdicts_that_real_ones_get(case):
    found = findings(case, 100, seed=3)
    for table, seen in zip(differences(case, 100, seed=3), found, strict=True):
        outcomes = judge([ClaimData(tuple(d), case.margin, case.non_inferiority) for d in table.tolist()])
        assert [OF_VERDICT[o.verdict] for o in outcomes] == seen.tolist()
    assert len(set(found.ravel().tolist())) > 1


OF_VERDICT = {
    Verdict.REPRODUCED: Finding.ABOVE,
    Verdict.CONTRADICTED: Finding.BELOW,
    Verdict.EQUIVALENT: Finding.INSIDE,
    Verdict.UNDERPOWERED: Finding.OPEN,
}


def test_rates_have_the_exact_binomial_interval():
    assert (simulated_ablations.Rate(0, 10).low, simulated_ablations.Rate(10, 10).high) == (0.0, 1.0)
    # Clopper and Pearson's for 3 of 10, from their tables.
    rate = simulated_ablations.Rate(3, 10)
    assert (rate.low, rate.high) == pytest.approx((0.0667, 0.6525), abs=1e-4)


def test_a_claim_between_the_same_trials_is_not_run_and_counts_in_no_family():
    borderline = ClaimData((0.10, 0.15, 0.06, 0.05))
    same = ClaimData((0.0, 0.0, 0.0, 0.0), same_trials=True)
    outcomes = judge([borderline, same])
    assert [o.verdict for o in outcomes] == [Verdict.REPRODUCED, Verdict.NOT_RUN]
    assert outcomes[0].p_holm == judge([borderline])[0].p_holm
    assert (outcomes[1].p_holm, outcomes[1].interval) == (None, None)


def test_the_a_a_row_says_no_difference():
    rng = np.random.default_rng(5)
    for seeds, rate in ((4, 0.05), (8, 0.05), (3, 0.05)):
        alarms = 0
        for _ in range(TABLES):
            seen = interval(a_a_differences(list(rng.normal(0.6, 0.01, seeds))))
            alarms += not seen.low <= 0 <= seen.high
        assert alarms / TABLES <= rate + SLACK


def test_seeds_needed_in_words():
    def said(*differences):
        return number_format.seeds_needed(judge([ClaimData(differences)])[0])

    assert said(0.1) == "at least 2"
    assert said(0.001, -0.001, 0.0) == "out of reach"
    assert said(0.04, -0.01, 0.02).startswith("≈ ")
    assert said(0.04, 0.0401, 0.0402) == "–"
