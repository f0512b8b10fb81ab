"""Does looking help answering? One word about one of four objects, answered by rows that see the video or do not."""

from dataclasses import replace

from swimlab import Ablation, Arm, Better, Float, Metric, Paper, Tuned, main

FEW = {"data.fraction": 0.15}  # 300 of the 2,000 clips
# No row behind the noun sees the video: what an answer says of it, it has from the question's rows, in every arm.
BLIND = {"blind_answers": True}
ARMS = {
    "base": {"optim.steps": 0},
    "control": {"objective.mask_weight": 0},
    "swim": {},
    "swim, wrong object": {"objective.target": "wrong-object"},
    "answering row": {"objective.query": "answer-before"},
    "both": {"objective.query": "noun-and-answer"},
    "swim, falling": {"objective.mask_schedule": "linear-down"},
}
# Less than 2 points of contested accuracy is not worth a loss of its own.
CLAIMS = [Better(arm, "control", margin=0.02) for arm in ARMS if arm not in ("base", "control")]
# The weight of the text beside the mask's: Adam does not see how large both are. On world 100, which no table has.
TUNED = Tuned(
    space=[Float("optim.lr", 5e-4, 4e-3, log=True), Float("objective.text_weight", 0.0125, 0.8, log=True)],
    budget=6,
    seed=100,
)


def page(name: str, question: str, changes: dict[str, object]) -> Ablation:
    """All arms with the same change of the recipe."""
    return Ablation(
        name=f"answers-{name}",
        question=question,
        arms=[Arm(arm, overrides | changes) for arm, overrides in ARMS.items()],
        seeds=range(8),
        metrics=[
            Metric("mediation.accuracy", primary=True),
            *(Metric(f"mediation.{name}") for name in ("margin", "by_noun", "by_answer")),
            *(Metric(f"answer.accuracy.cells_{size}") for size in ("under_4", "4_to_32")),
            Metric("described.word"),
            Metric("attention.pointing"),
        ],
        paper=Paper("Answers (not in the paper)", claims=CLAIMS),
        recipe="tiny-ask",
        reference="control",
        tuned=TUNED,
    )
