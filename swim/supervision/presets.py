"""Named objectives: the paper's, its released code's, and the variants between them.

A preset sets all fields of the objective except the layers, so that it means the same for every recipe. Layers are the
recipe's: six evenly spaced layers of 28 have other numbers in models of another depth.
"""

from typing import Any

from swim.recipe import Objective

# Eqs. 5-7: softmax over the video's tokens, mean over heads and layers, map as it is, BCE at mask resolution.
PAPER: dict[str, Any] = {
    "objective.query": "noun",
    "objective.domain": "video",
    "objective.heads": "mean",
    "objective.chosen_heads": (),
    "objective.fusion": "mean",
    "objective.normalise": "none",
    "objective.resize": "map-to-mask",
    "objective.patch_masks": "both",
    "objective.target": "object",
    "objective.mask_loss": "bce",
    "objective.text_weight": 0.05,
    "objective.mask_weight": 1.0,
    "objective.mask_schedule": "constant",
}

# The formula of the release: product over layers, divided by its sum, each frame stretched to [0, 1].
RELEASED_FORMULA = {"objective.fusion": "released-product", "objective.normalise": "minmax"}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": PAPER,
    # One passage of the paper mentions a single frame's tokens.
    "paper-frame": PAPER | {"objective.domain": "frame"},
    "paper-minmax": PAPER | {"objective.normalise": "minmax", "objective.text_weight": 1.0},
    # Only the released fusion and normalisation; the rest as in the paper.
    "released-fusion": PAPER | RELEASED_FORMULA,
    # The released code, without its error with frame 0.
    "official-code": PAPER
    | RELEASED_FORMULA
    | {"objective.query": "each-before", "objective.domain": "all", "objective.patch_masks": "second"},
    # KLAL (arXiv 2511.12738), of images, on each temporal patch: the answer's last token, each head's attention a
    # distribution over the patch, mean over heads, KL divergence to the mask on the token grid, mean over layers (it
    # takes all: layers "all"), added to the text loss with weight 1.
    "klal": PAPER
    | {
        "objective.query": "answer-last",
        "objective.domain": "frame",
        "objective.fusion": "geometric",
        "objective.resize": "mask-to-grid",
        "objective.mask_loss": "kl",
        "objective.text_weight": 1.0,
    },
}


def objective(preset: str, **changes: Any) -> Objective:
    """A preset for a trainer of your own: `objective("official-code", layers="last:6")`.

    Raises KeyError for a preset that does not exist, ValueError for fields or values that do not.
    """
    fields = {path.removeprefix("objective."): value for path, value in PRESETS[preset].items()}
    return Objective.model_validate(fields | changes)
