"""Declared looks: what is decided stays, what is left is tested, and the error rate holds."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from swimlab.stats.hypothesis_tests import Finding, decide
from swimlab.stats.intervals import ALPHA
from swimlab.stats.looks import LookData, decide_at_looks
from swimlab.stats.power import POWER, chance_to_settle, detectable_in_sds
from swimlab.stats.schedule import Schedule
from swimlab.stats.verdicts import ClaimData, Verdict, judge

sys.path.insert(0, str(Path(__file__).parents[3] / "experiments" / "systems"))
from simulated_looks import LooksCase, differences, judged, replicates_used

LOOKS = Schedule((4, 8))
UNSURE = (0.04, -0.01, 0.02, 0.03)
CLEAR = (0.20, 0.21, 0.19, 0.22)
SAME = (0.001, -0.001, 0.0005, 0.0)
TABLES = 2000


def slack(rate):
    return 3 * math.sqrt(rate * (1 - rate) / TABLES)


def at(look_1, look_2=None, **fields):
    """A claim with the differences of the first look, and of the second where it was run."""
    values = look_1 + (look_2 or ())
    return ClaimData(values, at_looks=(len(look_1), len(values) if look_2 else None), **fields)


def test_a_claim_decided_at_a_look_keeps_its_verdict_and_its_numbers():
    alone = judge([at(CLEAR)], schedule=LOOKS)[0]
    turned = judge([at(CLEAR, (-0.9, -0.8, -0.9, -0.8))], schedule=LOOKS)[0]
    assert (alone.verdict, alone.look, alone.next_look) == (Verdict.REPRODUCED, 1, None)
    assert (turned.verdict, turned.look, turned.interval) == (alone.verdict, 1, alone.interval)
    assert "decided at look 1 of 2" in turned.reason


def test_an_undecided_claim_says_what_its_next_look_does_and_after_the_last_what_adding_seeds_does():
    first = judge([at(UNSURE)], schedule=LOOKS)[0]
    assert (first.verdict, first.look, first.next_look) == (Verdict.UNDERPOWERED, None, 2)
    assert "look 2 of 2, at 8 seeds, settles it with a chance of 46 %" in first.reason
    last = judge([at(UNSURE, (-0.02, 0.01, 0.0, 0.02))], schedule=LOOKS)[0]
    assert (last.verdict, last.next_look) == (Verdict.UNDERPOWERED, None)
    assert "would settle it" in last.reason
    single = judge([ClaimData(UNSURE)])[0]
    assert "a new run of about 12 seeds would settle it (seeds added to these raise the error rate)" in single.reason


def test_a_look_whose_trials_have_not_all_ended_decides_nothing():
    waiting = judge([ClaimData(CLEAR[:3], at_looks=(None, None))], schedule=LOOKS)[0]
    assert (waiting.verdict, waiting.look, waiting.next_look) == (Verdict.UNDERPOWERED, None, 1)
    assert "at 4 seeds, has not all its trials yet" in waiting.reason
    # A failed trial has ended: the look has three differences of four.
    failed = judge([ClaimData(CLEAR[:3], at_looks=(3, None))], schedule=LOOKS)[0]
    assert (failed.verdict, failed.look) == (Verdict.REPRODUCED, 1)
    # Six of eight seeds decide nothing before the look has all of them.
    halfway = judge([ClaimData(UNSURE + CLEAR[:2], at_looks=(4, None))], schedule=LOOKS)[0]
    assert (halfway.verdict, halfway.next_look, halfway.interval.n) == (Verdict.UNDERPOWERED, 2, 6)


def test_p_is_compared_with_alpha_after_the_looks_are_counted():
    p_of_one_look = judge([ClaimData(UNSURE)])[0].p_holm
    assert judge([at(UNSURE)], schedule=LOOKS)[0].p_holm == pytest.approx(2 * p_of_one_look)
    # p .032 alone: decided at one look, not at α / 2.
    borderline = (0.10, 0.15, 0.06, 0.05)
    assert judge([ClaimData(borderline)])[0].verdict is Verdict.REPRODUCED
    outcome = judge([at(borderline)], schedule=LOOKS)[0]
    assert outcome.verdict is Verdict.UNDERPOWERED
    assert ALPHA < outcome.p_holm < 2 * ALPHA
    assert "not after Holm over 1 claims and 2 looks" in outcome.reason


def second_look(left):
    """Holm's p of the direction of an open claim at a look, beside one that `left` at the look before."""
    decided = decide([0.1, 0.1], [0.1, 0.1], 8, 0.5, False, 0.025, earlier=[left, Finding.OPEN])
    return decided.p_holm[1]


def test_a_claim_that_left_by_another_door_lends_nothing():
    alone = decide([0.1], [0.1], 8, 0.5, False, 0.025).p_holm[0]
    assert second_look(Finding.ABOVE) == pytest.approx(alone)
    assert second_look(Finding.BELOW) == pytest.approx(alone)
    assert second_look(Finding.INSIDE) == pytest.approx(2 * alone)
    ended = decide([0.1, 0.1], [0.1, 0.1], 8, 0.5, False, 0.025, ended=[True, False])
    assert ended.p_holm[1] == pytest.approx(2 * alone)
    assert Finding(ended.finding[0]) is Finding.OPEN


def test_a_claim_whose_trials_are_to_come_counts_so_that_no_verdict_is_taken_back():
    strong = at(UNSURE, (0.03, 0.02, 0.04, 0.05))
    waiting = ClaimData(UNSURE, at_looks=(4, None))
    beside = judge([strong, waiting], schedule=LOOKS)[0]
    for others in ((0.05, 0.04, 0.05, 0.03), (-0.5, 0.6, -0.4, 0.5)):
        later = judge([strong, at(UNSURE, others)], schedule=LOOKS)[0]
        assert later.p_holm <= beside.p_holm
        assert later.verdict is beside.verdict


def test_futility_ends_a_claim_without_a_finding():
    hopeless = at((0.1, -0.1, 0.11, -0.12))
    assert judge([hopeless], schedule=LOOKS)[0].next_look == 2
    ended = judge([hopeless], schedule=Schedule((4, 8), futility=0.2))[0]
    assert (ended.verdict, ended.look, ended.next_look) == (Verdict.UNDERPOWERED, 1, None)
    assert "ended for futility at look 1" in ended.reason
    promising = judge([at((0.04, 0.01, 0.05, 0.03))], schedule=Schedule((4, 8), futility=0.2))[0]
    assert promising.next_look == 2 or promising.look == 1


def test_the_chance_to_settle_is_that_of_simulated_looks():
    settled = judged(LooksCase((8,), (1.1,)), TABLES, seed=2).finding[:, 0] != Finding.OPEN
    assert chance_to_settle(1.1, 1.0, 8, 0.0, False, ALPHA) == pytest.approx(settled.mean(), abs=slack(0.7))
    assert chance_to_settle(detectable_in_sds(8), 1.0, 8, 0.0, False, ALPHA) == pytest.approx(POWER, abs=1e-6)
    assert chance_to_settle(0.0, 0.0, 8, 0.0, False, ALPHA) == 1.0
    assert not np.isnan(chance_to_settle(-1e6, 1e-6, 4, 1e3, True, ALPHA / 36))


def test_nothing_decided_twice_and_real_claims_get_the_verdicts_of_simulated_ones():
    case = LooksCase((4, 8), (0.0, 3.0, -3.0, 0.3), margin=1.0)
    outcome = judged(case, 60, seed=4)
    of_finding = [Verdict.UNDERPOWERED, Verdict.REPRODUCED, Verdict.CONTRADICTED, Verdict.EQUIVALENT]
    for table, findings, looks in zip(differences(case, 60, seed=4), outcome.finding, outcome.look, strict=True):
        claims = [ClaimData(tuple(d), margin=1.0, at_looks=(4, 8)) for d in table.tolist()]
        judged_claims = judge(claims, schedule=LOOKS)
        assert [c.verdict for c in judged_claims] == [of_finding[f] for f in findings]
        assert [c.look or 0 for c in judged_claims] == looks.tolist()
    assert set(outcome.look.ravel().tolist()) == {0, 1, 2}


@pytest.mark.parametrize("between", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("claims", [1, 3, 12])
def test_with_worlds_false_reproduced_is_rare_at_looks_and_with_orders_it_is_not(claims, between):
    half = tuple(20.0 * (i < claims // 2) for i in range(claims))
    rates = {}
    for replicate in ("world", "order"):
        for effects in ((0.0,) * claims, half):
            outcome = judged(LooksCase((4, 8), effects, replicate, between), TABLES, seed=6)
            false = (outcome.finding == Finding.ABOVE)[:, np.asarray(effects) == 0]
            rates.setdefault(replicate, []).append(false.any(1).mean())
    assert min(rates["world"]) > 0
    assert max(rates["world"]) <= ALPHA / 2 + slack(ALPHA / 2)
    assert min(rates["order"]) > 5 * ALPHA / 2


def test_looking_again_at_full_alpha_would_not_do_and_most_worlds_are_saved_where_effects_are_large():
    drawn = differences(LooksCase((4, 8), (0.0,)), 15 * TABLES, seed=7)
    looks = [
        LookData(drawn[..., :n].mean(-1), drawn[..., :n].std(-1, ddof=1), np.full(drawn.shape[:-1], n), n)
        for n in (4, 8)
    ]
    assert (decide_at_looks(looks, 0.0, False, 2 * ALPHA).finding == Finding.ABOVE).mean() > 1.2 * ALPHA / 2
    case = LooksCase((4, 8), (6.0,))
    assert replicates_used(case, judged(case, TABLES, seed=8)).mean() < 4.2
