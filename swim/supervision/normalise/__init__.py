"""Normalisation of a fused map before resizing. One file, one function `normalise(map_PHW) -> map_PHW`, fp32."""

EXPORT = "normalise"
