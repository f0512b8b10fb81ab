"""Agreement of two judges, against definitions spelled out and cases worked out by hand."""

import numpy as np
import pytest

from swimlab.stats.agreement import agreement, quadratic_kappa, same_order


def test_kappa_by_its_definition_over_the_table_of_grades():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 6, 200)
    b = np.clip(a + rng.integers(-1, 3, 200), 0, 5)
    table = np.zeros((6, 6))
    np.add.at(table, (a, b), 1)
    weight = np.square(np.subtract.outer(np.arange(6), np.arange(6)))
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    assert quadratic_kappa(a, b) == pytest.approx(1 - (weight * table).sum() / (weight * expected).sum())
    assert quadratic_kappa(a, b) == pytest.approx(0.8282238842771431)  # cohen_kappa_score of scikit-learn 1.9.1


def test_agreement_perfect_reversed_and_by_chance():
    grades = [0, 1, 2, 3, 4, 5]
    assert quadratic_kappa(grades, grades) == 1
    assert quadratic_kappa(grades, grades[::-1]) == -1
    assert quadratic_kappa([3, 3, 3], [3, 3, 3]) is None
    rng = np.random.default_rng(1)
    assert quadratic_kappa(*rng.integers(0, 6, (2, 1000))) == pytest.approx(0, abs=0.1)


def test_raw_agreement_would_flatter_a_judge_who_always_says_the_same():
    first = [5] * 95 + [0] * 5
    assert quadratic_kappa(first, [5] * 100) == 0


def test_the_offset_is_clustered_by_video_and_only_common_answers_count():
    first = {("a", 0): 3.0, ("b", 0): 4.0, ("c", 0): 2.0, ("d", 0): 1.0}
    second = {("a", 0): 4.0, ("b", 0): 4.0, ("c", 0): 4.0, ("e", 0): 5.0}
    result = agreement(first, second, {("a", 0): "v", ("b", 0): "v", ("c", 0): "w"})
    assert (result.answers, result.offset.mean, result.offset.clusters) == (3, 1.0, 2)
    with pytest.raises(ValueError, match="no answer in common"):
        agreement(first, {("z", 0): 1.0}, {})


def test_the_order_of_arms():
    first = {"base": 3.2, "control": 3.5, "swim": 3.8}
    assert same_order(first, {"base": 2.0, "control": 2.5, "swim": 3.0}) == 1
    assert same_order(first, {"base": 3.0, "control": 2.5, "swim": 2.0}) == -1
    assert same_order(first, {"base": 2.0, "control": 3.0, "swim": 2.5}) == pytest.approx(1 / 3)
    assert same_order(first, {"swim": 3.0}) is None
    assert same_order(first, dict.fromkeys(first, 3.0)) is None
