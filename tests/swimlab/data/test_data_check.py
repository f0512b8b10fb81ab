"""`plan` looks at a user's own data: it refuses what preparation refuses, for the same reason, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import planted_mistakes as planted
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from swim.recipe import FramePolicy, NLReferFiles
from swimlab.data import data_check
from swimlab.data.preparation import prepare
from swimlab.data.prepared_clips import PipelineError
from swimlab.store.sweep_store import SweepStore

FRAMES = FramePolicy(max_frames=4, min_pixels=64, max_pixels=64 * 64, cell_px=8)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return planted.write(tmp_path_factory.mktemp("planted") / "data")


def data(files: tuple[Path, Path], **changes: Any) -> NLReferFiles:
    return NLReferFiles(**{"annotations": (str(files[0]),), "videos": str(files[1]), "frames": FRAMES} | changes)


def check(data: NLReferFiles, store: Path, **changes: Any) -> str:
    options = {"max_quarantined_share": 0.5, "store_clips": True, "max_clips_bytes": 1e9}
    return data_check.check_data(data, str(store), **options | changes)


def test_all_of_a_small_data_set_is_looked_at(files: tuple[Path, Path], tmp_path: Path) -> None:
    text = check(data(files), tmp_path)
    assert text.startswith(
        "data: all 30 rows read, all 3 videos opened, nothing decoded: 4 rows cannot be used; swimlab"
    )
    assert f"swimlab doctor {files[0]} --videos {files[1]}" in text
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_parquet_is_looked_at(files: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    rows = [json.loads(line) for line in files[0].read_text().splitlines()]
    good = [{name: json.dumps(value) if name == "annotation" else value for name, value in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(good), folder / "part-0.parquet")
    assert "all 30 rows read" in check(data(files, annotations=(f"{folder}/",)), tmp_path / "store")


@pytest.mark.ray
@pytest.mark.parametrize("case", ["share", "videos", "held out", "no row", "unreadable", "room"])
def test_what_preparation_refuses_is_refused_with_its_message(
    two_cpus: None, files: tuple[Path, Path], tmp_path: Path, case: str
) -> None:
    other, limits = tmp_path / "other.jsonl", {}
    changes: dict[str, Any] = {}
    if case == "share":
        limits = {"max_quarantined_share": 0.1}
    elif case == "videos":
        changes = {"videos": str(tmp_path)}
    elif case == "held out":
        other.write_text(json.dumps(planted.planted("gone")))
        changes = {"held_out_annotations": (str(other),)}
    elif case == "room":
        limits = {"max_clips_bytes": 1e5}
    else:
        other.write_text("" if case == "no row" else "[")
        if case == "unreadable":
            other = other.rename(tmp_path / "other.json")
        changes = {"annotations": (str(other),)}
    chosen, store = data(files, **changes), SweepStore(str(tmp_path / "store"))
    with pytest.raises(PipelineError) as planned:
        check(chosen, tmp_path / "store", **limits)
    with pytest.raises(PipelineError) as ran:
        prepare(chosen, "0" * 64, store, tmp_path / "scratch", **limits)
    # Each names the place of its own list of rows.
    first, second = (str(error.value).partition(". Each row with what to do: ") for error in (planned, ran))
    assert first[0] == second[0]
    assert bool(first[1]) == bool(second[1])


def test_videos_that_are_not_opened_count_as_usable(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_check, "MOST_VIDEOS", 1)
    rows = [planted.right_row(i) | {"video": f"gone{i}.mp4"} for i in range(4)]
    file = tmp_path / "gone.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "all 4 rows read, 1 of 4 videos opened, nothing decoded: 1 rows cannot" in check(
        data((file, files[1])), tmp_path
    )


def test_a_large_file_is_left_to_the_doctor(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_check, "MOST_BYTES", 1000)
    text = check(data(files, videos=str(tmp_path)), tmp_path)
    assert text.startswith("data not looked at: 0 MB of annotations")
    assert "swimlab doctor" in text
