"""How the maps of the supervised layers become one (paper, Table 4). One file, one function `fuse`.

`fuse(a_SBRK) -> a_BRK`: S supervised layers, B samples, R noun rows, K visual tokens (padded columns are 0), fp32.
"""

EXPORT = "fuse"
