"""Cases of public reports on videos and pictures, through `swimlab doctor`, and the pictures that it decodes.

Each of `case_files.VIDEO_CASES` is a small input and its rows. Sources: OpenNeuroOrg/openneuro#2520 (apple-double),
navidrome/navidrome#2213 (audio-with-cover), sgl-project/sglang#33464 (exif-orientation), FFMS/ffms2#317
(flipped-display-matrix), mbzuai-oryx/Video-ChatGPT#96 (gif),
facebookresearch/sam2#236 (jpg-and-png-of-one-frame), cilinyan/VISA#9 (numbered-frames-with-gaps),
python-pillow/Pillow#2574 (sixteen-bit-png), Gagravarr/VorbisJava#53 (theora-duplicates).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from case_files import BLUE, GREEN, RED, WHITE, write_video_cases

from swim.data.annotations.samples import parse_row
from swim.data.types import Clip, DataError
from swim.data.video.decoder import Decoder
from swim.recipe import FramePolicy
from swimlab.__main__ import main
from swimlab.data.doctor.cautions import KEYS_UNCLEAR

REFUSED = {
    "audio-with-cover": ("no video that can be decoded", "cover"),
    "gif": ("a GIF, not a video", "ffmpeg -i circle.gif circle.mp4"),
    "jpg-and-png-of-one-frame": ("two pictures of one frame", "'00000.jpg' and '00000.png'"),
    "theora-duplicates": ("repeated frames that are stored as empty packets", "ffmpeg -i 't.ogv'"),
}


@dataclass(frozen=True)
class Cases:
    """The inputs: `rows` of each case, whose videos lie in a folder of its name."""

    folder: Path
    rows: dict[str, list[dict[str, Any]]]
    decoder: Decoder

    def clip(self, case: str, video: str = "", **changes: Any) -> Clip:
        """The clip of a case's first row, as training decodes it."""
        row = self.rows[case][0] | changes
        row["video"] = f"{case}/{video or row['video']}"
        return self.decoder.clip(parse_row(row, file="rows.json", row=0))


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    folder = tmp_path_factory.mktemp("cases")
    policy = FramePolicy(max_frames=4, min_pixels=1, max_pixels=320 * 240, cell_px=2)
    with Decoder(str(folder), policy) as decoder:
        yield Cases(folder, write_video_cases(folder), decoder)


@pytest.mark.ray
def test_the_doctor_refuses_what_has_no_right_picture_and_cautions_where_keys_are_unclear(
    two_cpus: None, cases: Cases, tmp_path: Path
) -> None:
    """One examination of all cases."""
    for case, rows in cases.rows.items():
        inside = [row | {"video": f"{case}/{row['video']}"} for row in rows]
        (tmp_path / f"{case}.json").write_text(json.dumps(inside))
    command = ["doctor", *(str(tmp_path / f"{case}.json") for case in cases.rows), "--name", "cases", "--decode", "0"]
    with pytest.raises(SystemExit) as exit_:
        main([*command, f"--videos={cases.folder}", *(f"--{name}={tmp_path / name}" for name in ("store", "cache"))])
    assert exit_.value.code == 0
    report = tmp_path / "store/reports/doctor/cases"
    broken = [row for file in report.glob("broken-*.parquet") for row in pq.read_table(file).to_pylist()]
    assert {(Path(row["file"]).stem, row["row"]) for row in broken} == {
        (case, number) for case in REFUSED for number in range(len(cases.rows[case]))
    }
    for row in broken:
        reason, advice = REFUSED[Path(row["file"]).stem]
        assert row["reason"] == reason
        assert advice in row["hint"]
    summary = json.loads((report / "summary.json").read_text())
    assert summary["counts"]["caution"] == {KEYS_UNCLEAR: 1}


@pytest.mark.parametrize("case", REFUSED)
def test_training_refuses_the_same(cases: Cases, case: str) -> None:
    with pytest.raises(DataError) as caught:
        cases.clip(case)
    assert caught.value.reason == REFUSED[case][0]
    assert REFUSED[case][1] in caught.value.hint


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
def test_pictures_are_turned_and_mirrored(cases: Cases, case: str, video: str, expected: list[tuple[int, ...]]) -> None:
    rows = {
        "annotation": None,
        "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "A dog."}],
    }
    for frame_HWC in cases.clip(case, video, **rows).frames_THWC:
        assert corners(frame_HWC) == expected


def test_sixteen_bits_keep_their_grey_levels(cases: Cases) -> None:
    frame_HWC = cases.clip("sixteen-bit-png").frames_THWC[0]
    assert len(np.unique(frame_HWC)) > 250
    assert 120 < frame_HWC.mean() < 135


def test_hidden_files_are_no_frames(cases: Cases) -> None:
    clip = cases.clip("apple-double")
    assert clip.frame_indices == (0, 1)


@pytest.mark.parametrize(("frames", "position"), [(None, 3), ("position", 3), ("number", 2)])
def test_a_row_says_what_its_keys_mean(cases: Cases, frames: str | None, position: int) -> None:
    """Of 0, 1, 3, 7 and 10, key 3 is the fourth picture by position, and the third by number."""
    clip = cases.clip("numbered-frames-with-gaps", frames=frames)
    (slot,) = clip.masks[0]
    assert clip.frame_indices[slot] == position
