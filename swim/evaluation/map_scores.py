"""The maps of one noun against its masks by our two conventions: all pixels of the video at once, or frame by frame.

The release's convention is `swim.evaluation.released_map`. P annotated temporal patches, H × W pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swim.evaluation import metrics

THRESHOLDS = (0.5, 0.75)  # of the release, and of the paper


def by_video(
    map_PHW: metrics.Values, mask_PHW: metrics.Mask, others_PHW: metrics.Mask | None = None
) -> dict[str, float]:
    """Every pixel metric over all annotated patches at once; nothing where the masks cover no pixel, or every pixel.
    `others_PHW` are the masks of the clip's other objects: `mass_others` is the share of the map on them."""
    if mask_PHW.all() or not mask_PHW.any():
        return {}  # a ranking of one class is undefined
    map_N, mask_N = map_PHW.ravel(), mask_PHW.ravel()
    scores = metrics.scores(map_N, mask_N, threshold=THRESHOLDS[0])
    del scores["precision"]
    scores |= {f"precision_{round(100 * at)}": metrics.precision(map_N, mask_N, at) for at in THRESHOLDS}
    if others_PHW is not None:
        scores["mass_others"] = metrics.mass(map_N, others_PHW.ravel() & ~mask_N)
    return scores


def by_frame(
    map_PHW: metrics.Values, mask_PHW: metrics.Mask, others_PHW: metrics.Mask | None = None
) -> dict[str, float]:
    """The same of each patch alone, and the mean over those that have pixels inside and outside."""
    others = [None] * len(map_PHW) if others_PHW is None else list(others_PHW)
    frames = [by_video(*frame) for frame in zip(map_PHW, mask_PHW, others, strict=True)]
    return mean_of([scores for scores in frames if scores])


def entropy(map_PHW: NDArray[np.float64], *, each_frame: bool) -> dict[str, float]:
    """Of the map over visual tokens, in nats, of all patches at once or as the mean over patches that have one."""
    parts = list(map_PHW) if each_frame else [map_PHW]
    values = [value for part in parts if (value := metrics.entropy(part.ravel())) is not None]
    return {"entropy": float(np.mean(values))} if values else {}


def mean_of(scores: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over those that have it."""
    names = dict.fromkeys(name for row in scores for name in row)
    return {name: float(np.mean([row[name] for row in scores if name in row])) for name in names}
