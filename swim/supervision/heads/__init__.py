"""How the (chosen) heads' maps become one. One file, one function `reduce(a_NHRK) -> a_NRK`, fp32."""

EXPORT = "reduce"
