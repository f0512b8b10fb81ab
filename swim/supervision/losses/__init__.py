"""Mask losses (paper, Table 5). One file, one function `mask_loss`.

`mask_loss(map_PHW, mask_PHW) -> loss_P`: P supervised maps (noun row × annotated temporal patch), map clamped to
[0, 1], mask in [0, 1] (the mean over the annotated frames of the patch), fp32; one value a map, so that sums can be
divided by the global count.
"""

EXPORT = "mask_loss"
