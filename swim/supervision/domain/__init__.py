"""The tokens over which the attention's softmax runs. One file, one function `log_normaliser`.

`log_normaliser(scores) -> log Z`, [N, H, R, 1] or [N, H, R, K]: the attention of a visual token is exp(score − log Z).
`scores` is `swim.supervision.attention.Scores`. fp32.
"""

EXPORT = "log_normaliser"
