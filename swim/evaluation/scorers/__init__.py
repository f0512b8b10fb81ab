"""Scorers of answers, one to a file: `FAMILIES` (how the names of its metrics begin), `Config` (a `swim.frozen.Frozen`
with a default for every field), `JUDGED` (whether it asks a language model) and
`score(config, asked, ask) -> swim.outputs.Evaluated`, as `swim.evaluation.scoring` says.

A scorer knows neither how the answers were generated nor who judges: a model's answers are generated once, and each
scorer and each judge makes another evaluation of them. Its code is in the evaluation's name, and in no trial's.
"""

EXPORT = "score"
