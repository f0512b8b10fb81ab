"""Hugging Face `datasets`: videos as bytes in Parquet, a folder of `save_to_disk`, the metadata of a VideoFolder."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_kit import NAMES, dump, one, refused, samples, track, trained, write_videos

from swim.data.rows.read import read_rows
from swim.data.types import DataError
from swim.data.video.cached_videos import cache_folder
from swim.recipe import Recipe

KIND = "hf-datasets"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_folder()


def messages(name: str) -> list[dict[str, str]]:
    question = f"What does the <ins>{name}</ins> do?"
    return [{"role": "user", "content": question}, {"role": "assistant", "content": "It moves."}]


def table(videos: Path) -> pa.Table:
    """Three rows with the bytes of their videos; the paths are those of another machine."""
    rows = [
        {
            "video": {"bytes": (videos / f"{name}.mp4").read_bytes(), "path": f"/home/me/{name}.mp4"},
            "messages": messages(name),
            "annotation": json.dumps([track(16)]),
        }
        for name in NAMES
    ]
    return pa.Table.from_pylist(rows)


def save_to_disk(folder: Path, content: pa.Table, **state: Any) -> Path:
    """The files that `Dataset.save_to_disk` writes, two rows in the first."""
    folder.mkdir(parents=True)
    names = []
    for i, part in enumerate((content.slice(0, 2), content.slice(2))):
        names.append(f"data-{i:05d}-of-00002.arrow")
        with pa.OSFile(str(folder / names[-1]), "wb") as sink, pa.ipc.new_stream(sink, content.schema) as writer:
            writer.write_table(part)
    dump(folder / "dataset_info.json", {"features": {}})
    dump(folder / "state.json", {"_data_files": [{"filename": name} for name in names]} | state)
    return folder


def test_three_rows_of_parquet_train_from_their_bytes(tmp_path: Path, nano: Recipe, cache: Path) -> None:
    source = write_videos(tmp_path / "source")
    pq.write_table(table(source), tmp_path / "train-00000-of-00001.parquet")
    (tmp_path / "videos").mkdir()
    read, clips, _ = trained(tmp_path / "train-00000-of-00001.parquet", tmp_path / "videos", KIND, nano)
    digests = [hashlib.sha256((source / f"{name}.mp4").read_bytes()).hexdigest() for name in NAMES]
    assert [sample.video for sample in read] == [f"cached:{digest}" for digest in digests]
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == {
        digest: (source / f"{name}.mp4").read_bytes() for name, digest in zip(NAMES, digests, strict=True)
    }
    assert not any((tmp_path / "videos").iterdir())
    assert [len(clip.masks) for clip in clips] == [1, 1, 1]


def test_a_saved_folder_has_the_rows_of_its_files(tmp_path: Path) -> None:
    content = table(write_videos(tmp_path / "source"))
    pq.write_table(content, tmp_path / "rows.parquet")
    saved = samples(save_to_disk(tmp_path / "saved", content), KIND)
    same = samples(tmp_path / "rows.parquet", KIND)
    assert [(s.video, s.turns, s.tracks) for s in saved] == [(s.video, s.turns, s.tracks) for s in same]


def test_a_video_folder_names_its_files(tmp_path: Path) -> None:
    rows = [
        {"file_name": "dog.mp4", "caption": "A dog moves."},
        {"file_name": "cat.mp4", "messages": messages("cat"), "annotation": [track(0)]},
        {"file_name": "ball.mp4", "conversations": {"from": ["human", "gpt"], "value": ["Who?", "A ball."]}},
    ]
    file = tmp_path / "metadata.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    read = samples(file, KIND)
    assert [(sample.video, len(sample.tracks)) for sample in read] == [("dog.mp4", 0), ("cat.mp4", 1), ("ball.mp4", 0)]
    assert [sample.turns[0].gpt for sample in read] == ["A dog moves.", "It moves.", "A ball."]


def row(**more: Any) -> dict[str, Any]:
    return {"file_name": "dog.mp4", "messages": messages("dog"), "annotation": [track(0)]} | more


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"caption": "A dog."}, "caption", "beside messages"),
        ({"annotation": None}, "annotation", "1 <ins> tags and no masks"),
        ({"images": ["a.jpg"]}, "images", "cannot be used"),
        ({"video": {"bytes": None, "path": None}}, "video", "missing or no text"),
        ({"video": {"bytes": 3}}, "video.bytes", "no bytes"),
        ({"video": {"bytes": "\ud800"}}, "video.bytes", "no bytes"),
    ],
)
def test_a_wrong_row_is_refused_with_the_right_one(change: dict[str, Any], field: str, reason: str) -> None:
    with refused(KIND, field, reason):
        one(row() | change, KIND)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match="set XDG_CACHE_HOME to a folder with room"):
        one(row(video={"bytes": "x"}), KIND)


def test_a_folder_of_splits_or_with_rows_left_out_is_refused(tmp_path: Path) -> None:
    content = table(write_videos(tmp_path / "source"))
    save_to_disk(tmp_path / "both" / "train", content, _indices_data_files=[{"filename": "indices.arrow"}])
    dump(tmp_path / "both" / "dataset_dict.json", {"splits": ["train"]})
    with pytest.raises(DataError, match=r"several splits \(name the folder of one split: train\)"):
        list(read_rows(tmp_path / "both"))
    with pytest.raises(DataError, match="save it again after flatten_indices"):
        list(read_rows(tmp_path / "both" / "train"))
