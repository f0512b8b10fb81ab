"""How the mask weight changes over training. One file, one function `factor(progress) -> float`.

`progress` is (step + 1) / steps, in (0, 1]; the mask weight of the step is `objective.mask_weight · factor`.
"""

EXPORT = "factor"
