"""Annotation rows of every state, and videos for them, for the doctor's tests."""

from pathlib import Path
from typing import Any

import numpy as np

from swim.data.synthetic import shapes_world
from swim.recipe import FramePolicy

SIDE = 64
DOT = {"size": [SIDE, SIDE], "counts": [100, 40, SIDE * SIDE - 140]}  # 40 of 4096 pixels: 1 %
FULL = {"size": [SIDE, SIDE], "counts": [0, SIDE * SIDE]}
EMPTY = {"size": [SIDE, SIDE], "counts": [SIDE * SIDE]}
FRAMES = FramePolicy(max_frames=4, min_pixels=64, max_pixels=SIDE * SIDE, cell_px=8)
HOSTILE = "<script>alert(1)</script>[bold]\x1b[31m\u202e$x_1$|`#"


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def track(**masks: Any) -> dict[str, Any]:
    return {name.removeprefix("f"): {"segmentation": mask} for name, mask in masks.items()}


def nl_refer(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "id": f"n{number}",
        "video": f"{number % 2}.mp4",
        "conversations": talk("Describe the <ins>dog</ins>.", "It runs."),
        "annotation": [track(f0=DOT, f3=FULL)],
    }
    return row | changes


VIDEOREFER = nl_refer(0, conversations=talk("<video>\nWhat is <region>?", "A dog."))
LLAVA = {"id": "l", "data_source": "x", "video": "l.mp4", "conversations": talk("<image>\nWho?", "A", "And?", "B")}
BENCH_D = {"id": 1, "video": "d.mp4", "caption": "A dog that runs.", "annotation": [track(f0=DOT)]}
POLYGONS = [[1.0, 1.0, 41.0, 1.0, 41.0, 41.0]]


def make_videos(folder: Path) -> Path:
    """0.mp4 and 1.mp4 of 9 frames, 2.mp4 is no video."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in range(2):
        pictures_THWC = np.random.default_rng(name).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
        (folder / f"{name}.mp4").write_bytes(shapes_world.encode_mp4(pictures_THWC))
    (folder / "2.mp4").write_bytes(b"no video")
    return folder
