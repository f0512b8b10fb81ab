"""Where nouns look, by the metrics of the paper's Fig. 6, Tables 6 and 7, and by what each of three conventions means.

`alignment.video.<query>.fused.*`: all annotated patches of a noun at once, bilinear (as in the suite `attention`).
`alignment.frame.<query>.fused.*`: each patch alone, then the mean. With `per_layer`, `layer_07` in place of `fused`.
`alignment.release.*`: the released script's reading, with which alone the paper's figures compare: each annotated frame
is an image of its own (of the clip's size, not of a processor's), question and true answer are given, every sub-token
of the noun is read wherever it occurs, one layer, nearest neighbour (`swim.evaluation.released_map`). The paper does
not say whether Fig. 6 means every occurrence or the first in the answer; this is every one. Frames without a mask are
left out, where the script takes the mask of the frame before.

Metrics: `gamepoint_*` (share of the highest pixels that is inside), `precision_50` and `precision_75`, `auc`, `nss`,
`ap`; by our conventions also `pointing`, `mass` and `mass_others` (share of the map on the object and on the other
annotated objects) and `entropy`. The recipe's default suites do not include this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swim.evaluation.alignment_config import AlignmentConfig

if TYPE_CHECKING:
    from swim.data.clips import Clips
    from swim.outputs import Evaluated
    from swim.recipe import Recipe
    from swim.train import Trained

FAMILIES = ("alignment.",)


Config = AlignmentConfig


def run(config: AlignmentConfig, recipe: Recipe, trained: Trained, clips: Clips, micro_batch: int | None) -> Evaluated:
    """Scores the tags of the questions of held-out clips, `micro_batch` conversations a forward pass."""
    # Imports torch, which takes seconds, and a plan reads only what stands above.
    from swim.evaluation.alignment import score

    return score(config, recipe, trained, clips, micro_batch)
