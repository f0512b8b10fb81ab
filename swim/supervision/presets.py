"""Named objectives: what the paper says, and what its released code changes. One name, several overrides."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # Eqs. 5-7: softmax over the video's tokens, mean over heads and layers, map as it is, BCE at mask resolution.
    "paper": {
        "objective.query": "noun",
        "objective.domain": "video",
        "objective.fusion": "mean",
        "objective.normalise": "none",
        "objective.resize": "map-to-mask",
        "objective.mask_loss": "bce",
        "objective.text_weight": 0.05,
        "objective.mask_weight": 1.0,
    },
    # Only the released fusion and normalisation; the rest as the paper says.
    "released-fusion": {"objective.fusion": "released-product", "objective.normalise": "frame-minmax"},
}
