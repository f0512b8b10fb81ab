"""A map of one image against its mask as the released script scores it (paper, Fig. 6, Tables 6 and 7).

The script scales the map on the grid of tokens to [0, 1], copies each cell to the mask's pixels (nearest neighbour),
and ranks pixels. All pixels of a cell are then equal, so that counting them in each cell gives the same figures without
sorting pixels, by the metrics of `swim.evaluation.metrics` that read ranks. Dimensions: h × w cells, H × W pixels,
K = h·w.

Two differences, both where the script's own figure is an accident: pixels of equal value at the last rank of GamePoint
share it (the script takes those that an unstable sort of numpy leaves there, which depends on the processor), and the
map is not rounded to bfloat16.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from swim.evaluation import metrics

EPSILON = 1e-8
Cells = NDArray[np.float64]


def scores(map_hw: Cells, mask_HW: NDArray[np.bool_]) -> dict[str, float]:
    """Every metric of the script that the paper prints, and precision at .75 beside the script's .5. A mask without
    pixels scores 0 in all, and one that covers the image has an AUC of 0, as in the script."""
    inside_K, pixels_K = _pixels_of_cells(map_hw.shape, mask_HW)
    values_K = map_hw.astype(np.float64).ravel()
    values_K = (values_K - values_K.min()) / (values_K.max() - values_K.min() + EPSILON)
    _, level_K = np.unique(-values_K, return_inverse=True)
    pixels_V, hits_V = (np.cumsum(np.bincount(level_K, weights=of_K)) for of_K in (pixels_K, inside_K))
    levels = metrics.Levels(pixels_V.astype(np.int64), hits_V.astype(np.int64))
    N, inside = int(levels.pixels_V[-1]), int(levels.hits_V[-1])
    return {
        "ap": metrics.average_precision(levels) if inside else 0.0,
        "auc": metrics.auc(levels) if 0 < inside < N else 0.0,
        "nss": _nss(values_K, inside_K, pixels_K),
        **{f"precision_{round(100 * at)}": _precision(values_K > at, inside_K, pixels_K) for at in (0.5, 0.75)},
        **{f"gamepoint_{percent}pct": _top(levels, int(N * percent / 100)) for percent in (1, 5, 10)},
        **{f"gamepoint_top{k}": _top(levels, k) for k in (1, 5, 10, 50, 100)},
    }


def _pixels_of_cells(grid: tuple[int, ...], mask_HW: NDArray[np.bool_]) -> tuple[Cells, Cells]:
    """How many pixels inside the mask, and how many in all, each cell is copied to."""
    cells = grid[0] * grid[1]
    index_hw = torch.arange(cells, dtype=torch.float64).reshape(1, 1, *grid)
    index_N = torch.nn.functional.interpolate(index_hw, size=mask_HW.shape, mode="nearest").long().numpy().ravel()
    inside_K, pixels_K = np.bincount(index_N, mask_HW.ravel(), cells), np.bincount(index_N, minlength=cells)
    return inside_K.astype(np.float64), pixels_K.astype(np.float64)


def _nss(values_K: Cells, inside_K: Cells, pixels_K: Cells) -> float:
    if not inside_K.any():
        return 0.0
    mean = np.average(values_K, weights=pixels_K)
    deviation = np.sqrt(np.average((values_K - mean) ** 2, weights=pixels_K))
    return float((np.average(values_K, weights=inside_K) - mean) / (deviation + EPSILON))


def _precision(above_K: NDArray[np.bool_], inside_K: Cells, pixels_K: Cells) -> float:
    return float(inside_K[above_K].sum() / pixels_K[above_K].sum()) if above_K.any() else 0.0


def _top(levels: metrics.Levels, k: int) -> float:
    """GamePoint@K; 0 for k = 0, to which a small image's 1 % is cut."""
    return metrics.game_point(levels, k) if k else 0.0
