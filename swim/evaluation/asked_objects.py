"""The objects that a question asks about: their masks, and how large they are to the model."""

from __future__ import annotations

import re
from collections.abc import Mapping

from swim.data.family import Family
from swim.data.types import Clip, Rle
from swim.supervision.targets import area_share

MARK = re.compile(r"<ins>(?P<noun>.*?)</ins>|(?:<object(?P<label>[0-9]+)>\s*)?<region>", re.DOTALL)
"""What stands for an object in a turn: a tagged noun, or a placeholder of a row that has no nouns."""


def question_tracks(clip: Clip, number: int) -> tuple[dict[int, Rle], ...]:
    """The masks of each mark in the question of a clip's turn, in their order: frame slot → mask. Nothing where the
    clip has no masks, or no such turn."""
    first = 0
    for turn in clip.turns[:number]:
        first += len(MARK.findall(turn.human)) + len(MARK.findall(turn.gpt))
    marks = len(MARK.findall(clip.turns[number].human)) if number < len(clip.turns) else 0
    return clip.masks[first : first + marks]


def size_in_tokens(track: Mapping[int, Rle], clip: Clip, family: Family) -> float | None:
    """The area of an object in visual tokens of a frame: the share of the picture that its masks cover, mean over the
    frames that have one, times the tokens of a frame. None where no frame has one."""
    if not track:
        return None
    _, height, width = clip.size_THW
    tokens = family.frame_tokens or (height // family.cell_px) * (width // family.cell_px)
    return area_share(tuple(track.values())) * tokens


def sizes_in_tokens(clip: Clip, number: int, family: Family) -> tuple[float, ...]:
    """The sizes of the objects that the question of a clip's turn asks about, of those that are annotated."""
    sizes = (size_in_tokens(track, clip, family) for track in question_tracks(clip, number))
    return tuple(size for size in sizes if size is not None)
