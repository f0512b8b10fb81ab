"""The true masks outlined in the frames, and named in the question by the colour of their outline.

An oracle: what a model could gain at most by looking at the right place. It is also how the benchmarks' original rows
are asked, whose objects are `<region>` placeholders (`data.placeholders` "keep"). Options get the instruction of the
arm `letter`, so that against `text` and `letter` only the outlines and their colours differ.

T frames, H × W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from swim.data.masks.encodings import to_grid
from swim.data.types import Clip, DataError, Rle
from swim.evaluation.asked_objects import MARK, question_tracks
from swim.evaluation.choice_prompt import with_instruction
from swim.evaluation.generate import Prompt

COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 200, 0),
    "blue": (0, 80, 255),
    "yellow": (255, 220, 0),
    "magenta": (255, 0, 255),
    "cyan": (0, 220, 220),
}
_MENTION = re.compile(r"<object([0-9]+)>")


def prompts(clip: Clip) -> list[Prompt]:
    """One prompt a turn. The n-th different object of a question has the n-th colour; a question without marks is asked
    as it stands. Raises DataError for more objects than colours."""
    asked = []
    for number, turn in enumerate(clip.turns):
        tracks = question_tracks(clip, number)
        objects = [track for i, track in enumerate(tracks) if track not in tracks[:i]]
        if len(objects) > len(COLOURS):
            hint = f"the arm contour has {len(COLOURS)} colours"
            raise DataError(f"{len(objects)} objects in a question", field="conversations", hint=hint, key=clip.key)
        names = [list(COLOURS)[objects.index(track)] for track in tracks]
        drawn = replace(clip, frames_THWC=_outlined(clip.frames_THWC, objects)) if objects else clip
        question = _named(turn.human, names) if names else turn.human
        asked.append(Prompt(drawn, with_instruction(question), number))
    return asked


def _named(text: str, colours: list[str]) -> str:
    """The text with the colour of each mark: a placeholder becomes "the object outlined in red", and so does a later
    mention of its label (rows that mention an object without a placeholder are refused when they are read); a tagged
    noun is followed by "(outlined in red)"."""
    labels: dict[str, str] = {}
    remaining = iter(colours)

    def named(match: re.Match[str]) -> str:
        colour = next(remaining)
        if match["noun"] is not None:
            return f"<ins>{match['noun']}</ins> (outlined in {colour})"
        labels[match["label"] or ""] = colour
        return f"the object outlined in {colour}"

    return _MENTION.sub(lambda m: f"the object outlined in {labels[m[1]]}", MARK.sub(named, text))


def _outlined(frames_THWC: NDArray[np.uint8], objects: list[dict[int, Rle]]) -> NDArray[np.uint8]:
    """Copies of the frames with a line around each object on its annotated frames, outside the object. Its width is a
    120th of the shorter side, at least one pixel."""
    drawn_THWC = frames_THWC.copy()
    size = frames_THWC.shape[1:3]
    width = max(1, round(min(size) / 120))
    for track, colour in zip(objects, COLOURS.values(), strict=False):
        for slot, inside_HW in _masks(track, size).items():
            line_HW = ndimage.binary_dilation(inside_HW, iterations=width) & ~inside_HW
            drawn_THWC[slot][line_HW] = colour
    return drawn_THWC


def _masks(track: Mapping[int, Rle], size: tuple[int, ...]) -> dict[int, NDArray[np.bool_]]:
    return {slot: to_grid(rle, *size) >= 0.5 for slot, rle in track.items()}
