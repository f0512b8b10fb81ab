"""How the maps of the supervised layers become one (paper, Table 4). One file, one function `fuse`.

`fuse(a_SMK) -> a_MK`: S supervised layers, M maps, K visual tokens (padded columns are 0), fp32.
"""

EXPORT = "fuse"
