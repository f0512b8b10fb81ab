"""Every choice between the paper and its released code, one at a time: which of them decides what the noun looks at?"""

from swim.supervision.presets import PRESETS
from swimlab import Ablation, Arm, Better, Metric, Paper, main

STEPS = {"optim.steps": 100}

# One field changed from `paper`. Embedded nouns are one token: each-before is before, noun-first and noun-mean noun.
ONE_AT_A_TIME = {
    "query": ["before", "answer", "answer-before", "answer-last"],
    "target": ["wrong-object"],
    "domain": ["all-causal", "all"],
    "heads": ["max"],
    "chosen_heads": [(0, 1)],
    "fusion": ["add", "max", "product", "released-product", "geometric"],
    "normalise": ["minmax", "max", "sum", "area", "logit"],
    "resize": ["mask-to-grid"],
    "mask_loss": ["weighted-bce", "dice", "focal", "miou", "cross-entropy", "kl"],
    "patch_masks": ["second"],
    "mask_schedule": ["linear-up", "linear-down", "cosine-down"],
    "layers": ["all", "last:2", "single:0"],
}

OPTIONS = Ablation(
    name="objective",
    question="Which choice of the objective matters, and which costs the released formula its sharpness?",
    arms=[
        *(Arm(name, STEPS, name) for name in PRESETS),
        Arm("product, minmax", STEPS | {"objective.fusion": "product", "objective.normalise": "minmax"}),
        *(
            Arm(f"{field} {value}", STEPS | {f"objective.{field}": value}, "paper")
            for field, values in ONE_AT_A_TIME.items()
            for value in values
        ),
        Arm("control", STEPS | {"objective.mask_weight": 0}),
    ],
    seeds=(0, 1, 2),
    metrics=[
        Metric("attention.ap", primary=True),
        Metric("attention.pointing"),
        Metric("attention.mass"),
        Metric("answer.accuracy"),
    ],
    paper=Paper(
        "All options (not in the paper)",
        # The released formula is product, then min-max: each alone against neither, and each against both.
        claims=[
            Better("paper", "fusion released-product"),
            Better("paper", "normalise minmax"),
            Better("fusion released-product", "released-fusion"),
            Better("normalise minmax", "released-fusion"),
        ],
        notes=["One ruler for all arms: the recipe's `evaluation.readout`, the paper's mean over heads and layers."],
    ),
    recipe="tiny-hard-look",
    reference="control",
)

if __name__ == "__main__":
    main(OPTIONS)
