"""The control the paper left out: same data, steps and seeds, with and without the mask loss."""

from swimlab import Ablation, Arm, Better, Metric, Paper, main

CONTROL = Ablation(
    name="control",
    question="Does the mask loss bring the gain, or merely the data it comes with?",
    arms=[
        Arm("base", {"optim.steps": 0}),
        Arm("control", {"objective.mask_weight": 0}),
        Arm("swim", preset="paper"),
        Arm("official-code", preset="official-code"),
    ],
    looks=(4, 8),
    metrics=[
        Metric("attention.ap", primary=True),
        Metric("attention.pointing"),
        Metric("attention.nss"),
        Metric("attention.mass"),
        Metric("answer.accuracy"),
        Metric("answer.ceiling"),
    ],
    paper=Paper(
        "Control (not in the paper)",
        claims=[Better("swim", "control"), Better("official-code", "control"), Better("swim", "base")],
        notes=["The paper's Fig. 6 compares with the base model, which never saw the training data."],
    ),
    recipe="tiny",
    reference="control",
)

if __name__ == "__main__":
    main(CONTROL)
