"""Draws the embedded data set with Ray Data, in the file formats of a user's own data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from swim.recipe import NLReferFiles, ShapesWorld
from swimlab.identity.splits import FIELDS, TRAINED, Split, drawn_clips

ReportProgress = Callable[[str, int, int], None]
"""Called with the stage, the amount done and the total (0 while unknown)."""

_DRAWN_PER_TASK = 64


def draw_embedded(
    config: ShapesWorld, folder: Path, progress: ReportProgress, splits: Sequence[Split] = TRAINED
) -> NLReferFiles:
    """Draw clips and annotations of these splits into `folder`, which every worker must be able to reach."""
    import ray.data

    clips = [(split, index) for split in splits for index in range(drawn_clips(config, split))]
    rows: dict[Split, list[Any]] = {split: [] for split in splits}
    entries: list[tuple[int, Any]] = []
    with quiet():
        numbers = ray.data.range(len(clips), override_num_blocks=math.ceil(len(clips) / _DRAWN_PER_TASK))
        dataset = numbers.map_batches(
            _draw, batch_size=None, batch_format="numpy", num_cpus=1, fn_args=(config, str(folder), clips)
        )
        for batch in dataset.iter_batches(batch_size=None, batch_format="numpy"):
            entries += zip(batch["id"].tolist(), map(json.loads, batch["row"]), strict=True)
            progress("draw clips", len(entries), len(clips))
    for number, row in sorted(entries, key=lambda entry: entry[0]):
        rows[clips[number][0]].append(row)
    for split, of_split in rows.items():
        (folder / f"{split}.json").write_text(json.dumps(of_split))
    return drawn_files(config, folder, splits)


def drawn_files(config: ShapesWorld, folder: Path, splits: Sequence[Split]) -> NLReferFiles:
    """The files that `draw_embedded` writes, as a user's own data."""
    named = {FIELDS[split]: (str(folder / f"{split}.json"),) for split in splits}
    return NLReferFiles(**{"annotations": ()} | named, videos=str(folder), formats=("nl-refer",), frames=config.frames)


def _draw(
    batch: dict[str, Any], config: ShapesWorld, folder: str, clips: Sequence[tuple[Split, int]]
) -> dict[str, Any]:
    """Task: numbers in `clips`, which are splits with the number of a clip."""
    from swim.data.synthetic import shapes_world

    rows = []
    for number in batch["id"].tolist():
        split, index = clips[number]
        rows += shapes_world.write(config, split, [index], Path(folder))
    return {"id": batch["id"], "row": np.asarray([json.dumps(row) for row in rows], dtype=object)}


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
