"""VideoRefer rows → NL-Refer rows (paper, section 3.1): each `<region>` becomes a referring expression whose noun is
tagged.

`tasks` finds the placeholders of a row and replaces them by expressions; `rules` makes expressions offline,
`instructions` asks a language model for them; `checks` accepts or rejects a rewritten row; `synonyms` makes its
variant; `reference_rows` makes rows whose correct expressions are known, to measure the error rate of all of this.
"""
