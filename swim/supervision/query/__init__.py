"""The positions whose attention is supervised, or read, for a noun. One file, one function `rows`.

`rows(noun) -> groups`: from a `swim.data.documents.Noun` to groups of positions, those of the noun or of the answer
about its object. Each group is one map, the mean over its positions' attention; several groups are supervised as
samples of their own, equal in weight.
"""

EXPORT = "rows"
