"""What the tests of all formats share: pictures, videos and masks to name in rows, and training on a file of them."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from muxed import picture, write
from PIL import Image

from swim.data.annotations.samples import example_row, parse_row, require_marked
from swim.data.masks import encodings
from swim.data.rows.read import read_part, read_rows, split
from swim.data.types import Clip, DataError, ReferSample
from swim.data.video.decode import decode_sample
from swim.recipe import FramePolicy, Recipe
from swim.train import Trained, train

HEIGHT, WIDTH = 64, 128
POLICY = FramePolicy(max_frames=4, min_pixels=64, max_pixels=64 * 64, cell_px=8)
NAMES = ["dog", "cat", "ball"]


def mask(first_column: int, columns: int = 32) -> dict[str, Any]:
    """An uncompressed RLE: whole columns from `first_column` on."""
    before, inside = first_column * HEIGHT, columns * HEIGHT
    return {"size": [HEIGHT, WIDTH], "counts": [before, inside, HEIGHT * WIDTH - before - inside]}


def track(first_column: int) -> dict[str, Any]:
    """An entry of `annotation`: two frames."""
    return {"0": {"segmentation": mask(first_column)}, "2": {"segmentation": mask(first_column + 16)}}


def write_pictures(root: Path, names: list[str] = NAMES, stems: tuple[str, ...] = ("00000", "00001", "00002")) -> Path:
    """A folder of pictures for each name."""
    for name in names:
        (root / name).mkdir(parents=True)
        for i, stem in enumerate(stems):
            Image.fromarray(picture(i)).save(root / name / f"{stem}.jpg")
    return root


def write_videos(root: Path, names: list[str] = NAMES) -> Path:
    """A video for each name."""
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        write(root / f"{name}.mp4")
    return root


def dump(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def samples(file: Path, kind: str) -> list[ReferSample]:
    """The samples of a file, of which only this format is accepted. Its parts have the same rows."""
    rows = list(read_rows(file))
    assert [numbered for part in split(file, 2) for numbered in read_part(part)] == rows
    return [require_marked(parse_row(raw, file=str(file), row=row, formats=(kind,))) for row, raw in rows]


def trained(file: Path, videos: Path, kind: str, recipe: Recipe) -> tuple[list[ReferSample], list[Clip], Trained]:
    """Trains on the rows of a file; the losses are numbers, and the masks have one if there are any."""
    read = samples(file, kind)
    clips = [decode_sample(sample, videos, POLICY) for sample in read]
    result = train(recipe, clips)
    values = {name: [p.value for p in result.curve if p.name == name] for name in {p.name for p in result.curve}}
    assert all(math.isfinite(value) for series in values.values() for value in series)
    assert values["text_loss"][0] > 0
    if any(clip.masks for clip in clips):
        assert values["mask_loss"][0] > 0
    return read, clips, result


@contextmanager
def refused(kind: str, field: str, reason: str) -> Iterator[None]:
    """A row is refused for this reason, and shown a right one that is read."""
    with pytest.raises(DataError) as caught:
        yield
    assert (caught.value.field, caught.value.row) == (field, 0)
    assert reason in caught.value.reason
    assert f"a right {kind} row: {example_row(kind)}" in caught.value.hint


def one(raw: Any, kind: str) -> ReferSample:
    return parse_row(json.loads(json.dumps(raw)), file="f.json", row=0, formats=(kind,))


def columns(sample: ReferSample, mark: int, frame: int) -> list[int]:
    """The columns that a mask covers."""
    return sorted(set(np.asarray(encodings.decode(sample.tracks[mark][frame])).nonzero()[1].tolist()))
