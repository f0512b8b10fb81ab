"""Two trained models compared row by row: pairing, videos as replicates, and the verdicts that follow."""

import numpy as np
import pytest
from scipy import stats

from swimlab.stats.row_differences import row_difference
from swimlab.stats.verdicts import ClaimData, Verdict, judge

BETTER = {"swim": 1.0, "base": -1.0}


def rows(values):
    return {f"row {n}": float(value) for n, value in enumerate(values)}


def test_one_row_a_video_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    base, swim = rng.normal(size=(2, 30))
    videos = {f"row {n}": n for n in range(30)}
    result = row_difference(BETTER, {"base": [rows(base)], "swim": [rows(swim)]}, videos)
    wanted = stats.ttest_rel(swim, base).confidence_interval()
    assert (result.estimate.low, result.estimate.high) == pytest.approx((wanted.low, wanted.high))
    (claim,) = judge([ClaimData(estimate=result.estimate)])
    assert claim.p_holm == pytest.approx(stats.ttest_rel(swim, base).pvalue)


def test_models_of_an_arm_are_averaged_and_rows_that_one_lacks_are_left_out_and_counted():
    base = [{"a": 1.0, "b": 2.0, "c": 0.0}, {"a": 3.0, "b": 2.0}]
    result = row_difference(BETTER, {"base": base, "swim": [{"a": 5.0, "b": 3.0, "d": 1.0}]}, {"a": "v", "b": "w"})
    assert (result.estimate.mean, result.rows, result.unpaired) == (2.0, 2, 1)  # (5 − 2 + 3 − 2) ÷ 2; d
    assert row_difference(BETTER, {"base": [{"a": 1.0}], "swim": [{"b": 1.0}]}, {}) is None
    assert row_difference(BETTER, {"base": [], "swim": [{"b": 1.0}]}, {}) is None


def test_verdicts_name_videos_and_promise_no_seeds():
    rng = np.random.default_rng(1)
    videos = {f"row {n}": n // 5 for n in range(500)}
    base = rng.integers(0, 2, 500)

    def verdict(swim, **fields):
        result = row_difference(BETTER, {"base": [rows(base)], "swim": [rows(swim)]}, videos)
        return judge([ClaimData(estimate=result.estimate, **fields)])[0]

    better = verdict(np.maximum(base, rng.random(500) < 0.3))
    assert (better.verdict, better.interval.n) == (Verdict.REPRODUCED, 100)
    assert verdict(np.minimum(base, rng.random(500) < 0.7), margin=0.05).verdict is Verdict.CONTRADICTED
    same = verdict(base, margin=0.05)
    assert (same.verdict, same.reason) == (Verdict.EQUIVALENT, "identical in every video")
    open_one = verdict(np.where(rng.random(500) < 0.1, 1 - base, base))
    assert open_one.verdict is Verdict.UNDERPOWERED
    assert open_one.reason == "undecided; more videos are needed, or a larger difference"
    assert open_one.seeds_needed is None
    alone = judge(
        [
            ClaimData(
                estimate=row_difference(
                    BETTER, {"base": [rows([0, 1])], "swim": [rows([1, 1])]}, dict.fromkeys(videos)
                ).estimate
            )
        ]
    )
    assert alone[0].reason == "one video has no spread: at least 2 are needed"


def test_false_positives_stay_at_their_level_where_rows_of_a_video_move_together():
    rng = np.random.default_rng(2)
    videos = {f"row {n}": n // 5 for n in range(150)}
    wrong = 0
    for _ in range(150):
        shift = np.repeat(rng.normal(size=30), 5)
        result = row_difference(
            BETTER, {"base": [rows(rng.normal(size=150))], "swim": [rows(shift + rng.normal(size=150))]}, videos
        )
        wrong += not result.estimate.low <= 0 <= result.estimate.high
    assert wrong / 150 < 0.1  # 5 % but for chance; with rows as replicates 20 %
