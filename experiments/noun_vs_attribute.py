"""The analysis behind the paper: do attributes attend sharply and nouns diffusely, before SWIM and after?"""

from swimlab import Ablation, Above, Arm, Better, Metric, Paper, main

READ = {"evaluation.attention.attributes": True}

NOUN_VS_ATTRIBUTE = Ablation(
    name="noun-vs-attribute",
    question="Do attributes attend sharply and nouns diffusely, before SWIM and after?",
    arms=[
        Arm("base", READ | {"optim.steps": 0}),
        Arm("control", READ | {"objective.mask_weight": 0}),
        Arm("swim", READ, preset="paper"),
    ],
    looks=(4, 8),
    metrics=[
        # Entropy of the noun's map minus that of the attribute in front of it, in nats: positive is "nouns diffuse".
        Metric("attention_gap.entropy", primary=True),
        Metric("attention_its_noun.entropy"),
        Metric("attention_attribute.entropy"),
        Metric("attention_its_noun.ap"),
        Metric("attention_attribute.ap"),
        Metric("answer.accuracy"),
    ],
    paper=Paper(
        "Noun and attribute (section 3.2)",
        claims=[Above("control", 0.0), Better("control", "swim")],
        notes=[
            "An attribute stands before its noun and cannot know it; a tiny model trained from scratch does not test "
            "what the paper says of pretrained ones.",
        ],
    ),
    recipe="tiny-hard-twins",
    reference="control",
)

if __name__ == "__main__":
    main(NOUN_VS_ATTRIBUTE)
