"""Small data sets of a few videos, and the pipeline without Ray."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swim.data.synthetic import shapes_world
from swim.recipe import FramePolicy
from swimlab.data import decode_part
from swimlab.data.decode_part import DecodeJob, DecodeResult
from swimlab.data.preparation import StoredClips
from swimlab.store.sweep_store import SweepStore

FRAMES = FramePolicy(max_frames=4, min_pixels=64, max_pixels=64 * 64, cell_px=8)
MASK = {"size": [64, 64], "counts": [100, 50, 64 * 64 - 150]}


def row(name: str, video: str, tags: int = 1) -> dict[str, Any]:
    return {
        "id": name,
        "index": "videorefer_short_caption",
        "video": video,
        "conversations": [
            {"from": "human", "value": "<video>\nThe " + "<ins>dog</ins> " * tags + "?"},
            {"from": "gpt", "value": f"{name} runs."},
        ],
        "annotation": [{"5": {"segmentation": MASK}}],
    }


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in range(3):
        pictures_THWC = np.random.default_rng(name).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
        (folder / f"{name}.mp4").write_bytes(shapes_world.encode_mp4(pictures_THWC))
    return folder


def written(folder: Path, name: str, rows: list[Any]) -> str:
    path = folder / name
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return str(path)


def read(store: SweepStore, prepared: Any, split: Any) -> list[Any]:
    clips = StoredClips(store, prepared, split)
    found = list(clips.read(range(len(clips.keys))))
    assert [clip.key for clip in found] == clips.keys
    return found


def contents(store: SweepStore) -> dict[str, bytes]:
    return {path: store.read(path) for path in store.list_files("clips")}


def in_process(jobs: list[DecodeJob], store: Any, _: Any) -> Iterator[DecodeResult]:
    """What Ray Data does, one part after the other; the last one first."""
    for job in reversed(jobs):
        yield decode_part.run(job, store)
