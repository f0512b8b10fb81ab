"""Rows with ten planted mistakes among right ones, on videos of two moving shapes, for the doctor's pictures.

Dimensions: T frames, H × W pixels, C = RGB.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from swim.data.synthetic import shapes_world
from swimlab.data.doctor import cautions

T, H, W = 12, 180, 320
QUESTION = "Where do the <ins>red square</ins> and the <ins>blue bar</ins> go?"

# The mistake's name → the concern that its picture stands under; a broken row's begins so.
MISTAKES = {
    "outline": cautions.OUTSIDE,
    "far": "annotation[N]['…'].segmentation: a polygon lies outside",
    "tiny": cautions.TINY,
    "jump": cautions.JUMP,
    "swapped": "annotation: a mask of N × N does not fit",
    "stretched": cautions.STRETCHED,
    "late": "annotation: annotated frame past the end",
    "inverted": cautions.WHOLE,
    "same": cautions.SAME,
    "gone": "video: no such file",
}


def boxes(frame: int) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """x, y, width, height of the red square and of the blue bar in a frame."""
    return (10 + 8 * frame, 20, 40, 40), (270 - 8 * frame, 120, 30, 50)


def video() -> NDArray[np.uint8]:
    frames_THWC = np.full((T, H, W, 3), 235, np.uint8)
    frames_THWC[:, ::20] = 215
    frames_THWC[:, :, ::20] = 215
    for frame in range(T):
        for (x, y, width, height), colour in zip(boxes(frame), ((205, 50, 40), (40, 70, 200)), strict=True):
            frames_THWC[frame, y : y + height, x : x + width] = colour
    return frames_THWC


def rle(box: tuple[int, int, int, int], height: int = H, width: int = W, *, inverted: bool = False) -> dict[str, Any]:
    """A box of an H × W picture as the mask of a picture of another size."""
    x, y, wide, high = box
    mask_HW = np.zeros((height, width), np.uint8, order="F")
    rows, columns = slice(y * height // H, (y + high) * height // H), slice(x * width // W, (x + wide) * width // W)
    mask_HW[rows, columns] = 1
    packed = coco.encode(np.asfortranarray(1 - mask_HW if inverted else mask_HW))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


def polygon(box: tuple[int, int, int, int], right_px: int) -> list[list[float]]:
    x, y, wide, high = box
    left = float(x + right_px)
    return [[left, float(y), left + wide, float(y), left + wide, float(y + high), left, float(y + high)]]


def right_row(number: int) -> dict[str, Any]:
    frames = (0, 5, 11)
    return {
        "id": f"right{number}",
        "video": f"{number % 2}.mp4",
        "height": H,
        "width": W,
        "conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": "They pass each other."}],
        "annotation": [{str(f): {"segmentation": rle(boxes(f)[i])} for f in frames} for i in range(2)],
    }


def planted(name: str) -> dict[str, Any]:
    """A right row with one mistake, of those in MISTAKES."""
    row = right_row(0) | {"id": name}
    square, bar = row["annotation"]
    if name == "outline":
        square["5"] = {"segmentation": polygon(boxes(5)[0], 250)}
    elif name == "far":
        square["5"] = {"segmentation": polygon(boxes(5)[0], 600)}
    elif name == "tiny":
        square["5"] = {"segmentation": rle((70, 40, 3, 3))}
    elif name == "jump":
        square["5"], bar["5"] = bar["5"], square["5"]
    elif name == "swapped":
        row["annotation"] = [{f: {"segmentation": rle(boxes(int(f))[i], W, H)} for f in square} for i in range(2)]
    elif name == "stretched":
        row["annotation"] = [{f: {"segmentation": rle(boxes(int(f))[i], 240, 320)} for f in square} for i in range(2)]
    elif name == "late":
        square["40"] = square["11"]
    elif name == "inverted":
        square["5"] = {"segmentation": rle((0, 0, 8, 8), inverted=True)}
    elif name == "same":
        bar["5"] = square["5"]
    elif name == "gone":
        row["video"] = "gone.mp4"
    return row


def write(folder: Path, right_rows: int = 20) -> tuple[Path, Path]:
    """The annotation file and the folder of its videos."""
    clips = folder / "clips"
    clips.mkdir(parents=True)
    for number in range(2):
        (clips / f"{number}.mp4").write_bytes(shapes_world.encode_mp4(video()))
    file = folder / "planted.jsonl"
    rows = [right_row(number) for number in range(right_rows)]
    for at, name in enumerate(MISTAKES):
        rows.insert(2 * at, planted(name))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file, clips
