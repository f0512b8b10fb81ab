"""The splits of a data set: what is trained on, what tables report, and what chooses.

Training and reported clips are one data set, with one fingerprint. The validation clips, by which searches, tuning and
pruning choose, are another: they are prepared where something is chosen, and are in no trial's name.
"""

from __future__ import annotations

from typing import Literal

from swim.recipe import DataConfig, NLReferFiles, ShapesWorld

Split = Literal["train", "held_out", "validation"]
Scored = Literal["held_out", "validation"]

TRAINED: tuple[Split, ...] = ("train", "held_out")
VALIDATION: tuple[Split, ...] = ("validation",)
# The field of a user's own data that names the files of a split.
FIELDS: dict[Split, str] = {
    "train": "annotations",
    "held_out": "held_out_annotations",
    "validation": "validation_annotations",
}
# Fields of the data that are no part of what is trained or reported.
CHOOSING_FIELDS = ("validation", "validation_annotations")


def measured_on(metric: str, split: Scored) -> str:
    """How results name a metric: as it is on the reported clips, "validation.<metric>" on those that choose."""
    return metric if split == "held_out" else f"{split}.{metric}"


def annotation_files(files: NLReferFiles, split: Split) -> tuple[str, ...]:
    """The annotation files of a split."""
    named: tuple[str, ...] = getattr(files, FIELDS[split])
    return named


def drawn_clips(data: ShapesWorld, split: Split) -> int:
    """Clips of a split of the embedded data."""
    if split == "train":
        return data.clips
    return data.held_out if split == "held_out" or data.validation is None else data.validation


def require_validation(data: DataConfig) -> None:
    """Raises ValueError for data without validation clips: no other clips may take their place."""
    if isinstance(data, NLReferFiles) and not data.validation_annotations:
        raise ValueError(
            "data.validation_annotations names no file: what a search or a tuned axis chooses is chosen on rows of "
            "their own, neither trained on nor reported; move a tenth of the rows of data.annotations to a file and "
            "name it there"
        )
