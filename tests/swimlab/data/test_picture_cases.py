"""Cases of public reports on videos and pictures, through `swimlab doctor`, and the pictures that it decodes.

Each folder of `cases/` holds a small input and its rows. Sources: OpenNeuroOrg/openneuro#2520 (apple-double),
navidrome/navidrome#2213 (audio-with-cover), sgl-project/sglang#33464 (exif-orientation), FFMS/ffms2#317
(flipped-display-matrix), mbzuai-oryx/Video-ChatGPT#96 (gif; the file is of moviepy's documentation),
facebookresearch/sam2#236 (jpg-and-png-of-one-frame), cilinyan/VISA#9 (numbered-frames-with-gaps),
python-pillow/Pillow#2574 (sixteen-bit-png), Gagravarr/VorbisJava#53 (theora-duplicates).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from swim.data.annotations.samples import parse_row
from swim.data.types import Clip, DataError
from swim.data.video.decoder import Decoder
from swim.recipe import FramePolicy
from swimlab.__main__ import main
from swimlab.data.doctor.video_checks import KEYS_UNCLEAR

CASES = Path(__file__).parent / "cases"
GREEN, RED, BLUE, WHITE = (0, 255, 0), (255, 0, 0), (0, 0, 255), (255, 255, 255)
REFUSED = {
    "audio-with-cover": ("no video that can be decoded", "cover"),
    "gif": ("a GIF, not a video", "ffmpeg -i circle.gif circle.mp4"),
    "jpg-and-png-of-one-frame": ("two pictures of one frame", "'00000.jpg' and '00000.png'"),
    "theora-duplicates": ("repeated frames that are stored as empty packets", "ffmpeg -i 't.ogv'"),
}


@pytest.mark.ray
def test_the_doctor_refuses_what_has_no_right_picture_and_cautions_where_keys_are_unclear(
    two_cpus: None, tmp_path: Path
) -> None:
    """One examination of all cases."""
    shutil.copytree(CASES, tmp_path / "videos")
    rows_of = {path.name: json.loads((path / "rows.json").read_text()) for path in sorted(CASES.iterdir())}
    for case, rows in rows_of.items():
        inside = [row | {"video": f"{case}/{row['video']}"} for row in rows]
        (tmp_path / f"{case}.json").write_text(json.dumps(inside))
    command = ["doctor", *(str(tmp_path / f"{case}.json") for case in rows_of), "--name", "cases", "--decode", "0"]
    with pytest.raises(SystemExit) as exit_:
        main([*command, *(f"--{name}={tmp_path / name}" for name in ("videos", "store", "cache"))])
    assert exit_.value.code == 0
    report = tmp_path / "store/reports/doctor/cases"
    broken = [row for file in report.glob("broken-*.parquet") for row in pq.read_table(file).to_pylist()]
    assert {(Path(row["file"]).stem, row["row"]) for row in broken} == {
        (case, number) for case in REFUSED for number in range(len(rows_of[case]))
    }
    for row in broken:
        reason, advice = REFUSED[Path(row["file"]).stem]
        assert row["reason"] == reason
        assert advice in row["hint"]
    summary = json.loads((report / "summary.json").read_text())
    assert summary["counts"]["caution"] == {KEYS_UNCLEAR: 1}


@pytest.mark.parametrize("case", REFUSED)
def test_training_refuses_the_same(decoder: Decoder, case: str) -> None:
    with pytest.raises(DataError) as caught:
        clip_of(decoder, case)
    assert caught.value.reason == REFUSED[case][0]
    assert REFUSED[case][1] in caught.value.hint


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    policy = FramePolicy(max_frames=4, min_pixels=1, max_pixels=320 * 240, cell_px=2)
    with Decoder(str(CASES), policy) as decoder:
        yield decoder


def clip_of(decoder: Decoder, case: str, video: str = "", **changes: Any) -> Clip:
    """The clip of a case's first row, as training decodes it."""
    row = json.loads((CASES / case / "rows.json").read_text())[0] | changes
    row["video"] = f"{case}/{video or row['video']}"
    return decoder.clip(parse_row(row, file="rows.json", row=0))


def corners(frame_HWC: np.ndarray) -> list[tuple[int, ...]]:
    """The colours of the four quadrants, top left first, each channel as 0 or 255."""
    height, width = frame_HWC.shape[:2]
    return [
        tuple(255 * (frame_HWC[height * y // 4, width * x // 4] > 127).astype(int))
        for y, x in ((1, 1), (1, 3), (3, 1), (3, 3))
    ]


@pytest.mark.parametrize(
    ("case", "video", "expected"),
    [
        ("flipped-display-matrix", "ref.mp4", [RED, GREEN, BLUE, WHITE]),
        ("flipped-display-matrix", "hflip.mp4", [GREEN, RED, WHITE, BLUE]),
        ("flipped-display-matrix", "transpose.mp4", [RED, BLUE, GREEN, WHITE]),
        ("exif-orientation", "exif3", [WHITE, BLUE, GREEN, RED]),
    ],
)
def test_pictures_are_turned_and_mirrored(
    decoder: Decoder, case: str, video: str, expected: list[tuple[int, ...]]
) -> None:
    rows = {
        "annotation": None,
        "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "A dog."}],
    }
    for frame_HWC in clip_of(decoder, case, video, **rows).frames_THWC:
        assert corners(frame_HWC) == expected


def test_sixteen_bits_keep_their_grey_levels(decoder: Decoder) -> None:
    frame_HWC = clip_of(decoder, "sixteen-bit-png").frames_THWC[0]
    assert len(np.unique(frame_HWC)) > 250
    assert 120 < frame_HWC.mean() < 135


def test_hidden_files_are_no_frames(decoder: Decoder) -> None:
    clip = clip_of(decoder, "apple-double")
    assert clip.frame_indices == (0, 1)


@pytest.mark.parametrize(("frames", "position"), [(None, 3), ("position", 3), ("number", 2)])
def test_a_row_says_what_its_keys_mean(decoder: Decoder, frames: str | None, position: int) -> None:
    """Of 0, 1, 3, 7 and 10, key 3 is the fourth picture by position, and the third by number."""
    clip = clip_of(decoder, "numbered-frames-with-gaps", frames=frames)
    (slot,) = clip.masks[0]
    assert clip.frame_indices[slot] == position
