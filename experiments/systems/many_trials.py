"""A table of 20 arms and up to 500 seeds, whose commands `plan_scale.py` measures: 10,000 trials as the tiny recipe
plans them. Nobody trains it."""

from swimlab import Ablation, Axis, Better, Metric, NotWorse, Paper, main

WEIGHTS = {"control": 0.0, **{f"weight {tenths / 10}": tenths / 10 for tenths in range(1, 20)}}

MANY_TRIALS = Ablation(
    name="many-trials",
    question="What do our own commands cost when a table has thousands of trials?",
    arms=[*Axis("objective.mask_weight", WEIGHTS)],
    seeds=tuple(range(500)),
    metrics=[
        Metric("attention.ap", primary=True),
        Metric("attention.pointing"),
        Metric("attention.mass"),
        Metric("answer.accuracy"),
    ],
    paper=Paper(
        "Many trials (not in the paper)",
        claims=[Better("weight 1.0", "control"), NotWorse("weight 1.0", "weight 1.9", margin=0.03)],
    ),
    recipe="tiny-hard-look",
    reference="control",
    replicate="order",
)

if __name__ == "__main__":
    main(MANY_TRIALS)
