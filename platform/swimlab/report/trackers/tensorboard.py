"""Stored trials for TensorBoard, by tensorboardX."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from swimlab.report.markdown import md
from swimlab.report.tracked_trials import TrackedTrial, _file_name

TARGET = "out"


def copy(trials: Iterable[TrackedTrial], folder: str) -> tuple[int, int]:
    """Writes event files under folder/<experiment>/<arm and seed>/: scalars train/…, final/… and the hyper-parameters.

    Args:
        trials: see `tracked_trials.runs`.
        folder: TensorBoard's log folder.

    Returns:
        The number of trials written, and of those skipped because they had been written before.
    """
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    written = skipped = 0
    for run in trials:
        target = Path(folder) / _file_name(run.experiment) / _file_name(run.name)
        if target.exists():
            skipped += 1
            continue
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        final = {f"final/{name}": value for name, value in run.record.metrics.items()}
        with SummaryWriter(str(partial)) as writer:
            for point in run.curve:
                writer.add_scalar(f"train/{point.name}", point.value, point.step, walltime=run.time_of_step(point.step))
            last = max((point.step for point in run.curve), default=0)
            for name, value in final.items():
                writer.add_scalar(name, value, last, walltime=run.finished_s)
            # The writer's own `add_hparams` would open a second run for them.
            for summary in hparams(run.parameters, final):
                writer.file_writer.add_summary(summary, last, walltime=run.finished_s)
            writer.add_text("trial", "  \n".join(f"{md(key)}: {md(text)}" for key, text in run.tags.items()), last)
        partial.rename(target)
        written += 1
    return written, skipped
