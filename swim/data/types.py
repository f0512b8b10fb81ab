"""The samples between annotation files and the model: ReferSample (as written) and Clip (decoded).

Dimensions: T frames, H × W pixels of the resized frame.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from swim.data.annotations.markup import strip_tags
from swim.data_config import Numbering
from swim.frozen import Frozen


class DataError(Exception):
    """A row that cannot be used. Says where it is and what to do; the row is recorded as rejected, never guessed at."""

    def __init__(self, reason: str, *, field: str, hint: str, file: str = "", row: int = -1, key: str = "") -> None:
        location = f"{file or '?'} row {row}" if row >= 0 else file or "?"
        super().__init__(f"{location} field {field!r}: {reason} ({hint})")
        self.reason, self.field, self.hint, self.file, self.row, self.key = reason, field, hint, file, row, key


class MachineError(DataError):
    """A row that this machine could not decode for want of memory or time. It may be usable: it is to be tried again
    when nothing else runs."""


class AnswerSlot(Frozen):
    """A word of an answer that the question does not contain: characters [start, end) of the answer without its tags.

    `commonest` is the value that most objects of the clip share, objects that no turn asks about included. None where
    the annotations do not list all objects: then only the turns are counted. `contested`: whether the clip's objects
    differ in this property; None where only the turns and `commonest` tell.
    """

    name: str
    start: int
    end: int
    commonest: str | None = None
    contested: bool | None = None


class Turn(Frozen):
    """One question and its answer, both with their `<ins>` tags; `slots` index the answer without tags."""

    human: str
    gpt: str
    slots: tuple[AnswerSlot, ...] = ()

    def word_at(self, slot: AnswerSlot) -> str:
        """The word of the answer at a slot."""
        return strip_tags(self.gpt)[0][slot.start : slot.end]


class Rle(Frozen):
    """Compressed COCO run lengths (column-major), size (height, width)."""

    height: int
    width: int
    counts: str


class ReferSample(Frozen):
    """One annotation row. `tracks[i]` belongs to the i-th mark of the turns, human and gpt, in reading order:
    shown-frame index → mask. A row without supervision (LLaVA-Video, "qa") has no tracks and is text-loss only.

    `marks` are `<ins>` tags, or the `<region>` placeholders of a row that has not been rewritten yet and cannot be
    trained on. `kind` is the format that read the row; `question_type` and `options` are those of a benchmark's row.
    `reference_differs` says that a benchmark's row has another answer beside its reference.
    `frames` says what the frame indices of `tracks` are where the video is a folder of pictures: positions, or the
    numbers in the names (`swim.data.video.numbering`); None leaves it to the frame policy.
    """

    key: str
    file: str
    row: int
    video: str
    turns: tuple[Turn, ...]
    tracks: tuple[dict[int, Rle], ...] = ()
    kind: str = "nl-refer"
    marks: Literal["ins", "region", "none"] = "ins"
    question_type: str = ""
    options: tuple[str, ...] = ()
    frames: Numbering | None = None
    reference_differs: bool = False


@dataclass(frozen=True)
class Clip:
    """A decoded sample. T is even; `masks[i]` maps a slot in 0…T-1 to the mask of the i-th tag, at its own size."""

    key: str
    turns: tuple[Turn, ...]
    frames_THWC: NDArray[np.uint8]
    frame_indices: tuple[int, ...]
    fps: float
    masks: tuple[dict[int, Rle], ...] = ()

    @property
    def size_THW(self) -> tuple[int, int, int]:
        """Frames, height and width."""
        T, H, W, _ = self.frames_THWC.shape
        return T, H, W

    @property
    def seconds_T(self) -> list[float]:
        """The time of each frame in the video."""
        return [index / self.fps for index in self.frame_indices]

    def to_row(self) -> dict[str, Any]:
        """A flat row for Parquet: raw frame bytes plus JSON for what is nested."""
        return {
            "key": self.key,
            "turns": json.dumps([turn.model_dump() for turn in self.turns], ensure_ascii=False),
            "frames": self.frames_THWC.tobytes(),
            "shape": list(self.frames_THWC.shape),
            "frame_indices": list(self.frame_indices),
            "fps": self.fps,
            "masks": json.dumps([{slot: rle.model_dump() for slot, rle in track.items()} for track in self.masks]),
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Clip:
        """Inverse of `to_row`."""
        frames_THWC = np.frombuffer(row["frames"], dtype=np.uint8).reshape([int(n) for n in row["shape"]])
        return cls(
            key=row["key"],
            turns=tuple(Turn.model_validate(turn) for turn in json.loads(row["turns"])),
            frames_THWC=frames_THWC,
            frame_indices=tuple(int(i) for i in row["frame_indices"]),
            fps=float(row["fps"]),
            masks=tuple(
                {int(slot): Rle.model_validate(rle) for slot, rle in track.items()}
                for track in json.loads(row["masks"])
            ),
        )
