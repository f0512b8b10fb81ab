"""The object whose masks a noun's maps are pushed onto. One file, one function `masks`.

`masks(noun, nouns) -> masks`: frame slot → mask, from a noun (`swim.data.documents.Noun`) and all nouns of its
document, itself included. Without a mask the noun is not supervised.
"""

EXPORT = "masks"
