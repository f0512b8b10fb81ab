"""How well an attention map points at a mask (paper, Fig. 6 and Table 6).

All metrics read one noun over all annotated pixels of the video at once: `map_N` the bilinearly upsampled attention,
`mask_N` the binary mask, N = annotated patches × pixels. The release computes them on single images. Metrics of ranks
share one sort (`Levels`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Levels:
    """The V distinct values of a map, highest first: how many pixels have at least that value, and how many of those
    lie inside the mask."""

    pixels_V: NDArray[np.int64]
    hits_V: NDArray[np.int64]

    @classmethod
    def of(cls, map_N: Values, mask_N: Mask) -> Levels:
        """One sort, of any kind: pixels of equal value enter together, in whatever order they come."""
        order = np.argsort(map_N)[::-1]
        last_of_tie = np.append(np.flatnonzero(np.diff(map_N[order])), len(order) - 1)
        return cls(last_of_tie + 1, np.cumsum(mask_N[order])[last_of_tie])


def scores(map_N: Values, mask_N: Mask, *, threshold: float) -> dict[str, float]:
    """Every attention metric of one noun. `mask_N` must hold at least one pixel inside and one outside."""
    levels = Levels.of(map_N, mask_N)
    return {
        "pointing": pointing(levels),
        "ap": average_precision(levels),
        "auc": auc(levels),
        "nss": nss(map_N, mask_N),
        "mass": mass(map_N, mask_N),
        "precision": precision(map_N, mask_N, threshold),
        **{f"gamepoint_{percent}pct": game_point(levels, round(percent / 100 * len(map_N))) for percent in (1, 5, 10)},
        **{f"gamepoint_top{k}": game_point(levels, k) for k in (1, 5, 10, 50, 100)},
    }


def pointing(levels: Levels) -> float:
    """1 when the highest value lies inside the mask; ties share."""
    return float(levels.hits_V[0] / levels.pixels_V[0])


def mass(map_N: Values, mask_N: Mask) -> float:
    """Share of the map's sum that lies inside the mask; 0 for a map that is zero everywhere."""
    total = map_N.sum()
    return float(map_N[mask_N].sum() / total) if total > 0 else 0.0


def average_precision(levels: Levels) -> float:
    """Area under the precision-recall steps; pixels of equal value enter together."""
    precision_V = levels.hits_V / levels.pixels_V
    return float(np.sum(np.diff(levels.hits_V, prepend=0) * precision_V) / levels.hits_V[-1])


def auc(levels: Levels) -> float:
    """Area under the ROC curve (Mann-Whitney with mid-ranks)."""
    inside, pixels = int(levels.hits_V[-1]), int(levels.pixels_V[-1])
    # Ranks count from the lowest value up; a level's pixels share the middle one of theirs.
    rank_V = (2 * pixels + 1 - levels.pixels_V - np.append(0, levels.pixels_V[:-1])) / 2
    ranks = np.sum(np.diff(levels.hits_V, prepend=0) * rank_V)
    return float((ranks - inside * (inside + 1) / 2) / (inside * (pixels - inside)))


def nss(map_N: Values, mask_N: Mask) -> float:
    """Mean z-score inside the mask; 0 for a constant map."""
    # Not std() > 0: equal values may leave a spread of 1e-17, and a z-score of 1.
    if map_N.max() == map_N.min():
        return 0.0
    return float((map_N[mask_N].mean() - map_N.mean()) / map_N.std())


def precision(map_N: Values, mask_N: Mask, threshold: float) -> float:
    """Share of the pixels above `threshold` of the min-max normalised map that lie inside the mask."""
    low, high = map_N.min(), map_N.max()
    if high == low:
        return float(mask_N.mean())
    above = (map_N - low) / (high - low) > threshold
    return float(mask_N[above].mean())


def entropy(map_K: Values) -> float | None:
    """Of the map as a distribution over visual tokens, in nats: ln K when it looks everywhere, 0 at one token. None for
    a map that is zero everywhere."""
    total = map_K.sum()
    return float(entr(map_K / total).sum()) if total > 0 else None


def game_point(levels: Levels, k: int) -> float:
    """GamePoint@K: share of the `k` highest pixels that lies inside the mask (paper, Tables 6 and 7; at least one, at
    most all of them). Ties at the last rank share it: which of them a partial sort returns depends on the processor."""
    k = min(max(1, k), int(levels.pixels_V[-1]))
    last = int(np.searchsorted(levels.pixels_V, k))
    above, hits = (int(levels.pixels_V[last - 1]), int(levels.hits_V[last - 1])) if last else (0, 0)
    share = (levels.hits_V[last] - hits) / (levels.pixels_V[last] - above)
    return float((hits + (k - above) * share) / k)
