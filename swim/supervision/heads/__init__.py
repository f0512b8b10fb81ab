"""Reduction of the (chosen) heads' maps to one. One file, one function `reduce(a_NHRK) -> a_NRK`, fp32."""

EXPORT = "reduce"
