"""How well an attention map points at a mask (paper, Fig. 6 and Table 6).

All metrics read one noun over all annotated pixels of the video at once: `map_N` the bilinearly upsampled attention,
`mask_N` the binary mask, N = annotated patches × pixels. The release computes them on single images.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr
from scipy.stats import rankdata

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


def scores(map_N: Values, mask_N: Mask, *, threshold: float) -> dict[str, float]:
    """Every attention metric of one noun. `mask_N` must hold at least one pixel inside and one outside."""
    return {
        "pointing": pointing(map_N, mask_N),
        "ap": average_precision(map_N, mask_N),
        "auc": auc(map_N, mask_N),
        "nss": nss(map_N, mask_N),
        "mass": mass(map_N, mask_N),
        "precision": precision(map_N, mask_N, threshold),
        **{
            f"gamepoint_{percent}pct": game_point(map_N, mask_N, round(percent / 100 * len(map_N)))
            for percent in (1, 5, 10)
        },
        **{f"gamepoint_top{k}": game_point(map_N, mask_N, k) for k in (1, 5, 10, 50, 100)},
    }


def pointing(map_N: Values, mask_N: Mask) -> float:
    """1 when the highest value lies inside the mask; ties share."""
    return float(mask_N[map_N == map_N.max()].mean())


def mass(map_N: Values, mask_N: Mask) -> float:
    """Share of the map's sum that lies inside the mask; 0 for a map that is zero everywhere."""
    total = map_N.sum()
    return float(map_N[mask_N].sum() / total) if total > 0 else 0.0


def average_precision(map_N: Values, mask_N: Mask) -> float:
    """Area under the precision-recall steps; pixels of equal value enter together."""
    order = np.argsort(-map_N, kind="stable")
    ranked, hits = map_N[order], np.cumsum(mask_N[order])
    last_of_tie = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    precision_at, hits_at = hits[last_of_tie] / (last_of_tie + 1), hits[last_of_tie]
    return float(np.sum(np.diff(hits_at, prepend=0) * precision_at) / hits[-1])


def auc(map_N: Values, mask_N: Mask) -> float:
    """Area under the ROC curve (Mann-Whitney with mid-ranks)."""
    inside = int(mask_N.sum())
    outside = len(mask_N) - inside
    ranks = rankdata(map_N)[mask_N].sum()
    return float((ranks - inside * (inside + 1) / 2) / (inside * outside))


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


def game_point(map_N: Values, mask_N: Mask, k: int) -> float:
    """GamePoint@K: share of the `k` highest pixels that lies inside the mask (paper, Tables 6 and 7; at least one, at
    most all of them). Ties at the last rank share it: which of them a partial sort returns depends on the processor."""
    k = min(max(1, k), len(map_N))
    last = np.partition(map_N, -k)[-k]
    above, tied = map_N > last, map_N == last
    return float((mask_N[above].sum() + (k - above.sum()) * mask_N[tied].mean()) / k)
