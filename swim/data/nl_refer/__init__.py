"""VideoRefer rows → NL-Refer rows (paper, section 3.1): each `<region>` becomes a referring expression whose noun is
tagged.

`tasks` finds the placeholders of a row and puts expressions in their place; `rules` makes expressions offline,
`instructions` asks a language model for them; `checks` decides whether they may stand; `synonyms` makes the variant;
`known` makes rows whose expressions are known, to measure how often all this is wrong.
"""
