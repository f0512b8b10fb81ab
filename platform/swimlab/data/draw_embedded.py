"""Draws the embedded data set with Ray Data, in the file formats of a user's own data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from swim.recipe import NLReferFiles, ShapesWorld

ReportProgress = Callable[[str, int, int], None]
"""Called with the stage, the amount done and the total (0 while unknown)."""

_DRAWN_PER_TASK = 64


def draw_embedded(config: ShapesWorld, folder: Path, progress: ReportProgress) -> NLReferFiles:
    """Draw clips and annotations into `folder`, which every worker must be able to reach."""
    import ray.data

    total = config.clips + config.held_out
    entries: list[tuple[int, Any]] = []
    with quiet():
        numbers = ray.data.range(total, override_num_blocks=math.ceil(total / _DRAWN_PER_TASK))
        dataset = numbers.map_batches(
            _draw, batch_size=None, batch_format="numpy", num_cpus=1, fn_args=(config, str(folder))
        )
        for batch in dataset.iter_batches(batch_size=None, batch_format="numpy"):
            entries += zip(batch["id"].tolist(), map(json.loads, batch["row"]), strict=True)
            progress("draw clips", len(entries), total)
    rows = [row for _, row in sorted(entries, key=lambda entry: entry[0])]
    for name, part in (("train", rows[: config.clips]), ("held_out", rows[config.clips :])):
        (folder / f"{name}.json").write_text(json.dumps(part))
    return NLReferFiles(
        annotations=(str(folder / "train.json"),),
        held_out_annotations=(str(folder / "held_out.json"),),
        videos=str(folder),
        formats=("nl-refer",),
        frames=config.frames,
    )


def _draw(batch: dict[str, Any], config: ShapesWorld, folder: str) -> dict[str, Any]:
    """Task: clips numbered from 0, the held-out ones after those for training."""
    from swim.data.synthetic import shapes_world

    numbers = batch["id"].tolist()
    train = [n for n in numbers if n < config.clips]
    held_out = [n - config.clips for n in numbers if n >= config.clips]
    rows = shapes_world.write(config, "train", train, Path(folder))
    rows += shapes_world.write(config, "held_out", held_out, Path(folder))
    in_order = [n for n in numbers if n < config.clips] + [n for n in numbers if n >= config.clips]
    return {"id": np.asarray(in_order), "row": np.asarray([json.dumps(row) for row in rows], dtype=object)}


@contextmanager
def quiet() -> Iterator[None]:
    """Switch Ray Data's progress bars off inside the `with` block, and restore the setting on exit."""
    from ray.data import DataContext

    context = DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    try:
        yield
    finally:
        context.enable_progress_bars = before
