"""Cases of public reports on rows and masks, through `swimlab doctor`, and the samples that training makes of them.

Each of `case_files.FILES` is a small input. Sources: ultralytics/yolov5#9816 and ultralytics/JSON2YOLO#56
(normalised-polygon), Python's json (dupkey_frame), pydantic/pydantic-ai#8316, UKGovernmentBEIS/inspect_ai#5353 and
huggingface/datasets#8241 (utf16, array_named, gz_named), foundation-model-stack/fms-hf-tuning#551 (the Parquet files),
alibaba-damo-academy/PixelRefer#15 (missing_segmentation_key).
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from case_files import FILES, write_row_files

from swim.data.annotations.samples import parse_row
from swim.data.rows.read import read_rows
from swim.data.types import ReferSample
from swimlab.__main__ import main

TWO_ROWS = ("array_named", "folder", "hfseq", "listview", "normalised-polygon", "utf16")
REFUSED = {
    "normalised-polygon.json": (
        "coordinates look normalised (all at most 1)",
        "annotation",
        "multiply x by the width and y by the height",
    ),
    "dupkey_frame.json": ("key '0' twice in one object", "annotation[0]", "keep one of the two"),
    "video_in_second_turn.json": (
        "<video> inside the text",
        "conversations[2].value",
        "at the start or the end of the first question",
    ),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    write_row_files(folder)
    return folder


@pytest.mark.ray
def test_the_doctor_reads_each_file_right_or_says_what_to_do(two_cpus: None, cases: Path, tmp_path: Path) -> None:
    """One examination of all cases."""
    command = ["doctor", *(str(cases / name) for name in FILES), f"--videos={cases}", "--name=rows", "--decode=0"]
    with pytest.raises(SystemExit) as exit_:
        main([*command, f"--store={tmp_path / 'store'}", f"--cache={tmp_path / 'cache'}"])
    assert exit_.value.code == 0
    report = tmp_path / "store/reports/doctor/rows"
    broken = [row for part in report.glob("broken-*.parquet") for row in pq.read_table(part).to_pylist()]
    assert {(Path(row["file"]).name, row["row"]) for row in broken} == {
        (file, number) for file in REFUSED for number in range(rows_in(file))
    }
    for row in broken:
        reason, field, advice = REFUSED[Path(row["file"]).name]
        assert (row["reason"], row["field"]) == (reason, field)
        assert advice in row["hint"]
    summary = json.loads((report / "summary.json").read_text())
    assert summary["totals"]["rows"] == sum(map(rows_in, FILES))
    assert sum(states.get("usable", 0) for states in summary["kinds"].values()) == sum(map(rows_in, FILES)) - len(
        broken
    )


@pytest.mark.parametrize("file", sorted(set(FILES) - set(REFUSED)))
def test_training_reads_the_same_row_of_each(cases: Path, file: str) -> None:
    samples = samples_of(cases / file)
    assert len(samples) == rows_in(file)
    for sample in samples:
        (turn,) = sample.turns
        assert turn.human.rstrip("\n") in ("Describe the <ins>dog</ins>.", "请描述视频中的<ins>狗</ins>。")
        assert turn.gpt.rstrip("\n") in ("A dog.", "A dog runs.", "一只狗在跑。😀")
        (track,) = sample.tracks
        assert set(track) == ({0} if file == "missing_segmentation_key.json" else {0, 5})
        assert {(rle.height, rle.width) for rle in track.values()} == {(240, 320)}


def rows_in(file: str) -> int:
    return 2 if Path(file).stem in TWO_ROWS else 1


def samples_of(path: Path) -> list[ReferSample]:
    return [parse_row(raw, file=path.name, row=row) for row, raw in read_rows(path)]
