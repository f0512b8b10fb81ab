"""Table 3: which layers' attention should be supervised?  (SWIM, section 4.4)"""

from swimlab import Ablation, Arm, Better, Metric, NotWorse, Paper, main

# The paper's layers of 28, from 0, and its Bench-D average. By their place in the depth they fit any model; on a
# shallow one some rows become one recipe, and then share their trials.
PAPER = {
    (1,): 3.43,
    (13,): 3.48,
    (27,): 3.52,
    (1, 7, 13): 3.69,
    (9, 18, 27): 3.70,
    (1, 13, 27): 3.72,
    (1, 3, 5, 7, 9, 11): 3.73,
    (17, 19, 21, 23, 25, 27): 3.76,
    (1, 6, 11, 16, 21, 26): 3.78,
    (2, 7, 12, 17, 22, 27): 3.78,
    tuple(range(1, 28, 3)): 3.75,
    tuple(range(1, 28, 2)): 3.77,
}


def arm(layers: tuple[int, ...]) -> str:
    """The row's name: its layers, or how many where they are many."""
    return " ".join(map(str, layers)) if len(layers) <= 6 else f"{len(layers)} of 28: 1 {layers[1]} … {layers[-1]}"


EVEN, NINE, FOURTEEN = (arm(layers) for layers in list(PAPER)[-3:])

TABLE_3 = Ablation(
    name="layers",
    question="Which layers' attention should be supervised, and do six evenly spaced ones suffice?",
    arms=[
        *(Arm(arm(ls), {"objective.layers": "at:" + ",".join(f"{layer / 27:.4f}" for layer in ls)}) for ls in PAPER),
        Arm("control", {"objective.mask_weight": 0}),
    ],
    looks=(4, 8),
    metrics=[
        Metric("bench_d.avg", standin={"tiny": "attention.ap"}, primary=True),
        Metric("attention.pointing"),
        Metric("attention.mass"),
        Metric("answer.accuracy"),
        Metric("described.avg"),
    ],
    paper=Paper(
        "Table 3",
        rows={arm(layers): score for layers, score in PAPER.items()},
        claims=[
            *(Better(EVEN, single) for single in ("1", "13", "27")),
            Better(EVEN, arm((1, 3, 5, 7, 9, 11))),
            NotWorse(EVEN, NINE, margin=0.03),
            NotWorse(EVEN, FOURTEEN, margin=0.03),
        ],
    ),
    recipe="tiny-deep",
    reference="control",
)

if __name__ == "__main__":
    main(TABLE_3)
