"""All choices at once: does a joint search over the objective and the data find what one table at a time would miss?"""

from optuna.pruners import MedianPruner

from swimlab import Choice, Float, Metric, Pruning, Search, main

JOINT = Search(
    name="joint",
    question="Which layers, fusion, loss, weight and share of the data sharpen attention and keep the answers right?",
    space=[
        Choice("objective.layers", {"middle two": (1, 2), "first two": "first:2", "last two": "last:2", "all": "all"}),
        Choice("objective.fusion", ["mean", "add", "max", "product"]),
        Choice("objective.mask_loss", ["bce", "weighted-bce", "dice", "focal"]),
        Float("objective.mask_weight", 0.1, 10, log=True),
        Float("data.fraction", 0.25, 1, step=0.25),
    ],
    objectives=[Metric("attention.ap"), Metric("answer.accuracy")],
    start=[  # the paper's choice, which other tables have run
        {
            "objective.layers": "middle two",
            "objective.fusion": "mean",
            "objective.mask_loss": "bce",
            "objective.mask_weight": 1.0,
            "data.fraction": 1.0,
        }
    ],
    budget=20,
    generation=4,
    pruning=Pruning(at=(0.25, 0.5), clips=40, pruner=MedianPruner(n_startup_trials=4)),
    confirm=(1, 2, 3),
    recipe="tiny-hard-look",
)

if __name__ == "__main__":
    main(JOINT)
