"""The smallest recipe that goes the whole way, for tests through Ray."""

from typing import Any

from swim.recipe import Optim, Recipe, ShapesWorld, TinyModel
from swim.recipes import TINY_LAYERS, tiny_smoke
from swim.worlds import Replicate
from swimlab import Ablation, Arm, Better, Metric, Paper

SHAPE = TinyModel(hidden=32, heads=2, kv_heads=1, intermediate=32, vision_hidden=16, vision_depth=1, layers=3)


def recipe(*, steps: int = 4, base: bool = True, **overrides: Any) -> Recipe:
    """Twelve clips, a 32-wide model, optionally on a base of its own."""
    optim = Optim(steps=steps, batch=4, warmup_steps=2)
    bottom = tiny_smoke().override(
        {
            "name": "nano-base",
            "model": SHAPE,
            "data": ShapesWorld(clips=12, held_out=4, prompts="list", objects=2),
            "objective.mask_weight": 0.0,
            "objective.layers": TINY_LAYERS,
            "optim": optim,
        }
    )
    return bottom.override(
        {
            "name": "nano",
            "data": ShapesWorld(clips=12, held_out=4),
            "objective.mask_weight": 1.0,
            "init": bottom if base else None,
            **overrides,
        }
    )


def ablation(seeds: tuple[int, ...] = (0, 1), arms: tuple[Arm, ...] = (), replicate: Replicate = "order") -> Ablation:
    """SWIM against its control. In one world, since each has clips of its own to decode."""
    return Ablation(
        name="nano",
        arms=arms or (Arm("swim"), Arm("control", {"objective.mask_weight": 0})),
        seeds=seeds,
        metrics=[Metric("attention.ap", primary=True), Metric("answer.accuracy")],
        paper=Paper("Nano", claims=[Better("swim", "control")] if not arms else []),
        recipe="tiny-smoke",
        replicate=replicate,
    )
