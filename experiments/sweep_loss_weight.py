"""The weight of the mask loss, which the paper does not state: how much is enough, and when does it cost answers?"""

from swimlab import Ablation, Arm, Axis, Better, Metric, NotWorse, Paper, main

WEIGHTS = {"control": 0.0, "0.1": 0.1, "0.3": 0.3, "1": 1.0, "3": 3.0, "10": 10.0}

LOSS_WEIGHT = Ablation(
    name="loss-weight",
    question="How much weight does the mask loss need, and when does it cost answers?",
    arms=[*Axis("objective.mask_weight", WEIGHTS), Arm("text 1 : mask 1", {"objective.text_weight": 1.0})],
    looks=(4, 8),
    metrics=[
        Metric("attention.ap", primary=True),
        Metric("attention.pointing"),
        Metric("attention.mass"),
        Metric("answer.accuracy"),
        Metric("answer.ceiling"),
    ],
    paper=Paper(
        "Loss weight (not in the paper)",
        claims=[
            Better("1", "0.1"),
            Better("1", "text 1 : mask 1"),
            NotWorse("1", "3", margin=0.03),
            NotWorse("1", "10", margin=0.03),
            NotWorse("1", "control", margin=0.02, metric="answer.accuracy", margin_source="two answers in a hundred"),
        ],
        notes=["The released code has 0.05 · text + 1 · mask; the paper states no weight."],
    ),
    recipe="tiny-hard-look",
    reference="control",
)

if __name__ == "__main__":
    main(LOSS_WEIGHT)
