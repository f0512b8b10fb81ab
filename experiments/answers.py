"""Does looking help answering? One word about one of four objects, answered by rows that see the video or do not.

PRIMARY counts; the other pages are in answers_more.py. Whoever changes recipe, arms, claims or primary page after a
result of worlds 0 to 15 has made another design, of at most three (`designs`); this is the first. Tuning and pilots, on
worlds from 100 on, which no table has, are none.
"""

from dataclasses import replace

from swimlab import Ablation, Arm, Better, Float, Metric, Paper, Tuned, main

ARMS = {
    "base": {"optim.steps": 0},
    "control": {"objective.mask_weight": 0},
    "swim": {},
    "swim, wrong object": {"objective.target": "wrong-object"},
    "answering row": {"objective.query": "answer-before"},
    "both": {"objective.query": "noun-and-answer"},
    "swim, falling": {"objective.mask_schedule": "linear-down"},
}
FEW = {"data.fraction": 0.15}  # about 300 of the 2,000 clips
BLIND = {"blind_answers": True}
# The weight of the text beside the mask's: Adam does not see how large both are.
SPACE = [Float("optim.lr", 5e-4, 4e-3, log=True), Float("objective.text_weight", 0.0125, 0.8, log=True)]


def arms(changes):
    """All arms, each with these changes of the recipe."""
    return [Arm(name, overrides | changes) for name, overrides in ARMS.items()]


PRIMARY = Ablation(
    name="answers-open-2000",
    question="Does pointing help one-word answers, where any row may look, with 2,000 clips?",
    arms=arms({}),
    looks=(8, 16),
    designs=3,
    metrics=[
        Metric("mediation.accuracy", primary=True),
        *(Metric(f"mediation.{name}") for name in ("margin", "by_noun", "by_answer")),
        *(Metric(f"answer.accuracy.cells_{size}") for size in ("under_4", "4_to_32")),
        *map(Metric, ("described.avg", "attention.pointing")),
    ],
    # Two points of contested accuracy: less is not worth a loss of its own.
    paper=Paper("Answers", claims=[Better(a, "control", margin=0.02) for a in ARMS if a not in ("base", "control")]),
    recipe="tiny-ask",
    reference="control",
    tuned=Tuned(SPACE, budget=6, seed=100),
)
OPEN = "Does pointing help one-word answers, where any row may look, with {} clips?"
THROUGH = "Does pointing help one-word answers, where no row behind the noun sees the video, with {} clips?"
PAGES = (
    PRIMARY,
    replace(PRIMARY, name="answers-open-300", question=OPEN.format(300), arms=arms(FEW)),
    replace(PRIMARY, name="answers-blind-2000", question=THROUGH.format("2,000"), arms=arms(BLIND)),
    replace(PRIMARY, name="answers-blind-300", question=THROUGH.format(300), arms=arms(FEW | BLIND)),
)

if __name__ == "__main__":
    main(PRIMARY)
