"""Cases of public reports on rows and masks, through `swimlab doctor`, and the samples that training makes of them.

Each file of `row_cases/` is a small input. Sources: ultralytics/yolov5#9816 and ultralytics/JSON2YOLO#56
(normalised-polygon), Python's json (dupkey_frame), pydantic/pydantic-ai#8316, UKGovernmentBEIS/inspect_ai#5353 and
huggingface/datasets#8241 (utf16, array_named, gz_named), foundation-model-stack/fms-hf-tuning#551 (the Parquet files),
alibaba-damo-academy/PixelRefer#15 (missing_segmentation_key).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from swim.data.annotations.samples import parse_row
from swim.data.rows.read import read_rows
from swim.data.types import ReferSample

CASES = Path(__file__).parent / "row_cases"
FILES = sorted(path.name for path in CASES.iterdir() if path.suffix in (".json", ".jsonl", ".parquet"))
TWO_ROWS = ("array_named", "folder", "gz_named", "hfseq", "listview", "normalised-polygon", "utf16")
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
def examined(two_cpus: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The summary of one examination of all cases, and by file its broken rows."""
    from swimlab import __main__

    folder = tmp_path_factory.mktemp("cases")
    files = [str(CASES / name) for name in FILES]
    command = ["doctor", *files, "--videos", str(CASES), "--store", str(folder / "store"), "--name", "rows"]
    with pytest.raises(SystemExit) as exit_:
        __main__.main([*command, "--decode", "0", "--cache", str(folder / "cache")])
    report = folder / "store/reports/doctor/rows"
    broken: dict[str, list[dict[str, Any]]] = {}
    for part in report.glob("broken-*.parquet"):
        for row in pq.read_table(part).to_pylist():
            broken.setdefault(Path(row["file"]).name, []).append(row)
    return {"code": exit_.value.code, "summary": json.loads((report / "summary.json").read_text()), "broken": broken}


@pytest.mark.ray
def test_what_cannot_be_read_right_is_refused_with_what_to_do(examined: dict[str, Any]) -> None:
    assert examined["code"] == 0
    assert set(examined["broken"]) == set(REFUSED)
    for file, (reason, field, advice) in REFUSED.items():
        assert len(examined["broken"][file]) == rows_in(file)
        for row in examined["broken"][file]:
            assert (row["reason"], row["field"]) == (reason, field)
            assert advice in row["hint"]


@pytest.mark.ray
def test_the_others_are_usable(examined: dict[str, Any]) -> None:
    rows = sum(rows_in(file) for file in FILES)
    refused = sum(rows_in(file) for file in REFUSED)
    assert examined["summary"]["totals"]["rows"] == rows
    assert sum(examined["summary"]["counts"]["usable"].values()) == rows - refused


@pytest.mark.parametrize("file", sorted(set(FILES) - set(REFUSED)))
def test_training_reads_the_same_row_of_each(file: str) -> None:
    samples = samples_of(file)
    assert len(samples) == rows_in(file)
    for sample in samples:
        (turn,) = sample.turns
        assert turn.human.rstrip("\n") == "Describe the <ins>dog</ins>."
        assert turn.gpt.rstrip("\n") in ("A dog.", "A dog runs.")
        (track,) = sample.tracks
        assert set(track) == ({0} if file == "missing_segmentation_key.json" else {0, 5})
        assert {(rle.height, rle.width) for rle in track.values()} == {(240, 320)}


def rows_in(file: str) -> int:
    return 2 if Path(file).stem in TWO_ROWS else 1


def samples_of(file: str) -> list[ReferSample]:
    return [parse_row(raw, file=file, row=row) for row, raw in read_rows(CASES / file)]
