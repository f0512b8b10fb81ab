"""Data sets in several files: whatever their rows are read from counts in the data hash."""

import json
import shutil
from pathlib import Path
from typing import Any

from swim.recipe import NLReferFiles
from swimlab.identity.data_hash import files_content, row_count


def content(file: Path, kind: str, root: Path) -> Any:
    data = NLReferFiles(annotations=(str(file),), videos=str(root / "videos"), formats=(kind,))
    try:
        return files_content(data, root / "cache")["train"]
    finally:
        shutil.rmtree(root / "cache")


def expressions(root: Path) -> Path:
    (root / "videos" / "dog").mkdir(parents=True)
    (root / "videos" / "dog" / "00000.jpg").write_bytes(b"a picture")
    videos = {"dog": {"expressions": {"0": {"exp": "a dog", "obj_id": "1", "anno_id": [1]}}, "frames": ["00000"]}}
    file = root / "meta_expressions.json"
    file.write_text(json.dumps({"videos": videos}))
    return file


def test_masks_in_another_file_or_folder_count(tmp_path: Path) -> None:
    for kind, name in (("mevis", "mask_dict.json"), ("ref-youtube-vos", "Annotations/dog/00000.png")):
        root = tmp_path / kind
        root.mkdir()
        file, masks = expressions(root), root / name
        masks.parent.mkdir(parents=True, exist_ok=True)
        masks.write_text("{}")
        (before,) = content(file, kind, root)
        assert list(before["videos"]) == ["dog"]
        masks.write_text('{"1": []}')
        (after,) = content(file, kind, root)
        assert (before["sha256"] != after["sha256"], before["videos"]) == (True, after["videos"])
        moved = tmp_path / f"{kind} moved"
        shutil.move(root, moved)
        assert content(moved / file.name, kind, moved) == [after]


def test_rows_of_described_files_are_counted_again(tmp_path: Path) -> None:
    described = {"d": {"file_name": "rows.json", "formatting": "sharegpt", "columns": {"videos": "videos"}}}
    file, counts = tmp_path / "dataset_info.json", []
    file.write_text(json.dumps(described))
    for rows in (2, 5):
        (tmp_path / "rows.json").write_text(json.dumps([{"conversations": [], "videos": []}] * rows))
        counts.append(row_count(str(file), tmp_path / "cache"))
    assert counts == [2, 5]


def test_videos_count_however_a_row_names_them(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "dog.mp4").write_bytes(b"a video")
    chat = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "A dog."}]
    rows = {
        "ms-swift": {"messages": chat, "videos": ["dog.mp4"]},
        "hf-datasets": {"messages": chat, "file_name": "dog.mp4"},
        "coco-video": {"videos": [{"id": 1, "file_names": ["dog.mp4/0.jpg"]}], "categories": [], "annotations": []},
    }
    for kind, row in rows.items():
        file = tmp_path / f"{kind}.jsonl"
        file.write_text(json.dumps(row))
        (before,) = content(file, kind, tmp_path)
        assert list(before["videos"]) == ["dog.mp4"]
    described = {"d": {"file_name": "rows.json", "formatting": "sharegpt", "columns": {"videos": "videos"}}}
    file, listed = tmp_path / "dataset_info.json", tmp_path / "rows.json"
    file.write_text(json.dumps(described))
    talk = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "A dog."}]
    listed.write_text(json.dumps([{"conversations": talk, "videos": ["dog.mp4"]}]))
    (before,) = content(file, "llama-factory", tmp_path)
    assert list(before["videos"]) == ["dog.mp4"]
    listed.write_text(json.dumps([{"conversations": talk, "videos": ["dog.mp4"]}] * 2))
    assert content(file, "llama-factory", tmp_path)[0]["sha256"] != before["sha256"]
