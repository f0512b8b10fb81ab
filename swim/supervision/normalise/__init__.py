"""Normalisation of a fused map before resizing, each temporal patch on its own. One file, one function `normalise`.

`normalise(map_PHW, area_P) -> map_PHW`, fp32: P maps of H × W token cells; `area_P` is how many cells the mask covers.
"""

EXPORT = "normalise"
