"""The positions whose attention is read for a noun. One file, one function `rows`.

`rows(tokens) -> groups`: from the ascending positions of a noun's sub-tokens to groups of positions. Each group is one
map, the mean over its positions' attention; several groups are supervised as samples of their own, equal in weight.
"""

EXPORT = "rows"
