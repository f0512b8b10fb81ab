"""Table 5: which loss should compare the attention map with the mask?  (SWIM, section 4.4)"""

from swimlab import Ablation, Arm, Axis, Better, Metric, Paper, main

TABLE_5 = Ablation(
    name="loss",
    question="Which loss should compare the attention map with the mask?",
    arms=[
        *Axis("objective.mask_loss", {"mIoU": "miou", "Focal": "focal", "Dice": "dice", "BCE": "bce"}),
        Arm("control", {"objective.mask_weight": 0}),
    ],
    looks=(4, 8),
    metrics=[
        Metric("bench_d.avg", standin={"tiny": "attention.ap"}, primary=True),
        Metric("attention.pointing"),
        Metric("attention.nss"),
        Metric("attention.mass"),
        Metric("answer.accuracy"),
        Metric("described.avg"),
    ],
    paper=Paper(
        "Table 5",
        rows={"mIoU": 3.71, "Focal": 3.69, "Dice": 3.74, "BCE": 3.78},
        claims=[Better("BCE", "mIoU"), Better("BCE", "Focal"), Better("BCE", "Dice")],
        notes=[
            "The paper gives no weight for any loss; here all have the same, and the losses differ in scale: read this "
            "table beside the one of loss weights.",
        ],
    ),
    recipe="tiny-hard-look",
    reference="control",
)

if __name__ == "__main__":
    main(TABLE_5)
