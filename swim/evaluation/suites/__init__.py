"""Suites of measurements, one to a file: `FAMILIES` (how the names of its metrics begin), `Config` (a
`swim.recipe.SuiteConfig`) and `run(config, recipe, trained, clips, micro_batch) -> swim.outputs.Evaluated`.

A plan reads `FAMILIES` and `Config` of every suite, so that a suite imports torch inside `run`. Each has a code
fingerprint of its own: a change to one suite evaluates stored trials again by that suite, and trains nothing.
"""

EXPORT = "run"
