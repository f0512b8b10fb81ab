"""The released script's scores of one image, against a literal version that ranks pixels."""

import numpy as np
import pytest
import torch

from swim.evaluation import released_map

TOPS = {"top1": 1, "top5": 5, "top10": 10, "top50": 50, "top100": 100, "1pct": 0.01, "5pct": 0.05, "10pct": 0.1}


def literal(map_hw, mask_HW, shuffles):
    """The script's steps on pixels. Its sort leaves pixels of equal value in no order: here the mean over shuffles."""
    scaled = (map_hw - map_hw.min()) / (map_hw.max() - map_hw.min() + 1e-8)
    pixels = torch.nn.functional.interpolate(torch.tensor(scaled)[None, None], size=mask_HW.shape, mode="nearest")
    flat_N, inside_N = pixels.numpy().ravel(), mask_HW.ravel()
    levels = sorted(set(flat_N), reverse=True)
    recall = [0.0] + [inside_N[flat_N >= at].sum() / inside_N.sum() for at in levels]
    pairs = np.sign(flat_N[inside_N][:, None] - flat_N[~inside_N]) / 2 + 0.5
    z_N = (flat_N - flat_N.mean()) / (flat_N.std() + 1e-8)
    wanted = {
        "ap": sum(np.diff(recall) * [inside_N[flat_N >= at].mean() for at in levels]),
        "auc": np.mean(pairs),
        "nss": z_N[inside_N].mean(),
        **{f"precision_{at}": inside_N[flat_N > at / 100].mean() for at in (50, 75)},
    }
    for name, k in TOPS.items():
        count, shares = int(k * len(flat_N)) if k < 1 else min(k, len(flat_N)), []
        for seed in range(shuffles):
            order = np.random.default_rng(seed).permutation(len(flat_N))
            highest = order[np.argsort(flat_N[order], kind="stable")[::-1][:count]]
            shares.append(inside_N[highest].sum() / count if count else 0.0)
        wanted[f"gamepoint_{name}"] = np.mean(shares)
    return wanted


def drawn(seed, grid, size, ties=False):
    rng = np.random.default_rng(seed)
    map_hw = rng.integers(0, 4, grid) / 3 if ties else rng.random(grid)
    return map_hw, rng.random(size) < 0.3


@pytest.mark.parametrize("seed", range(3))
def test_without_ties_every_score_is_the_scripts(seed):
    map_hw, mask_HW = drawn(seed, (12, 12), (12, 12))
    assert released_map.scores(map_hw, mask_HW) == pytest.approx(literal(map_hw, mask_HW, 1), abs=1e-12)


@pytest.mark.parametrize(("grid", "size", "ties"), [((4, 5), (13, 17), False), ((6, 6), (9, 8), True)])
def test_copied_cells_and_equal_ones_share_the_last_rank(grid, size, ties):
    map_hw, mask_HW = drawn(7, grid, size, ties)
    result, wanted = released_map.scores(map_hw, mask_HW), literal(map_hw, mask_HW, 600)
    tops = {name for name in wanted if name.startswith("gamepoint")}
    assert {n: v for n, v in result.items() if n not in tops} == pytest.approx(
        {n: v for n, v in wanted.items() if n not in tops}, abs=1e-12
    )
    assert {n: result[n] for n in tops} == pytest.approx({n: wanted[n] for n in tops}, abs=0.06)


def test_a_constant_map_scores_chance():
    mask_HW = np.zeros((40, 40), dtype=bool)
    mask_HW[:10] = True
    scores = released_map.scores(np.full((8, 8), 1 / 64), mask_HW)
    assert (scores.pop("auc"), scores.pop("nss")) == (0.5, 0.0)
    # Nothing lies above a threshold, for which the script has 0.
    assert (scores.pop("precision_50"), scores.pop("precision_75")) == (0.0, 0.0)
    assert list(scores.values()) == pytest.approx([0.25] * 9)


def test_one_class_and_a_small_image_score_as_in_the_script():
    map_hw = np.arange(16.0).reshape(4, 4)
    assert set(released_map.scores(map_hw, np.zeros((4, 4), dtype=bool)).values()) == {0.0}
    full = released_map.scores(map_hw, np.ones((4, 4), dtype=bool))
    assert (full["ap"], full["auc"], full["gamepoint_top100"]) == (1.0, 0.0, 1.0)
    assert full["gamepoint_5pct"] == 0.0  # 5 % of 16 pixels is cut to none
