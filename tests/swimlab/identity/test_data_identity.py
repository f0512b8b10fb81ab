"""What a user's files are: their contents and their videos', read in little memory."""

import hashlib
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swim.recipe import FramePolicy, NLReferFiles
from swimlab.data.preparation import PipelineError, prepare
from swimlab.identity.data_hash import files_content
from swimlab.identity.naming import IdentityError
from swimlab.store.sweep_store import SweepStore

ROWS = [
    {"video": "b.mp4"},
    {"video": "a.mp4"},
    {"video": "gone.mp4"},
    {"video": "a.mp4"},
    {"video": 3},
    {},
    5,
    [],
    None,
]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_of_parquet_files_counts_by_its_files(tmp_path: Path, slash: str) -> None:
    folder, videos = tmp_path / "rows.parquet", tmp_path / "videos"
    videos.mkdir()
    folder.mkdir()
    for number, video in enumerate(("a.mp4", "b.mp4")):
        (videos / video).write_bytes(video.encode())
        pq.write_table(pa.table({"video": [video]}), folder / f"part-{number}.parquet")
    data = NLReferFiles(annotations=(f"{folder}{slash}",), videos=str(videos))
    before = files_content(data, tmp_path / "cache")
    assert before["train"][0]["name"] == "rows.parquet"
    assert before["train"][0]["videos"] == {name: sha256(videos / name) for name in ("a.mp4", "b.mp4")}
    pq.write_table(pa.table({"video": ["b.mp4", "b.mp4"]}), folder / "part-1.parquet")
    assert files_content(data, tmp_path / "cache") != before


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_content_is_the_files_and_the_videos_they_name(tmp_path: Path, name: str) -> None:
    rows, videos = tmp_path / name, tmp_path / "videos"
    rows.write_text(json.dumps(ROWS) if name == "rows.json" else "\n".join([*map(json.dumps, ROWS), "{broken"]))
    videos.mkdir()
    for video in ("a.mp4", "b.mp4", "unused.mp4"):
        (videos / video).write_bytes(video.encode())
    data = NLReferFiles(annotations=(str(rows),), videos=str(videos))
    content = files_content(data, tmp_path / "cache")
    assert content == {
        "kind": data.kind,
        "frames": data.frames.model_dump(exclude={"numbering"}),  # a later field, which counts where it is set
        "formats": ["llava-video", "nl-refer"],
        "train": [
            {
                "name": name,
                "sha256": sha256(rows),
                "videos": {
                    "a.mp4": sha256(videos / "a.mp4"),
                    "b.mp4": sha256(videos / "b.mp4"),
                    "gone.mp4": "unreadable: DataError",
                },
            }
        ],
        "held_out": [],
    }
    by_number = data.model_copy(update={"frames": FramePolicy(numbering="number")})
    assert files_content(by_number, tmp_path / "cache") != content


@pytest.mark.fault(
    injection="annotations break off half-way when a run names its data",
    symptom="the run trains on the first half",
    expected="error names file and row",
)
def test_annotations_broken_half_way_refuse_the_run(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(f"[{json.dumps(ROWS[0])}, {{'video': 1}}]")
    data, place = NLReferFiles(annotations=(str(path),), videos="videos"), r"rows\.json row 1 .*at byte 22"
    with pytest.raises(IdentityError, match=place):
        files_content(data, tmp_path / "cache")
    with pytest.raises(PipelineError, match=place):
        prepare(data, "f", SweepStore(str(tmp_path / "store")), tmp_path / "scratch")
    path.write_text(path.read_text().replace("'", '"'))
    assert files_content(data, tmp_path / "cache")["train"][0]["videos"].keys() == {"b.mp4"}


def test_large_annotations_are_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"video": "a.mp4", "annotation": ["x" * 1000] * 20}] * 1500))
    tracemalloc.start()
    try:
        files_content(NLReferFiles(annotations=(str(path),), videos="videos"), tmp_path / "cache")
        assert tracemalloc.get_traced_memory()[1] < 0.4 * path.stat().st_size
    finally:
        tracemalloc.stop()
