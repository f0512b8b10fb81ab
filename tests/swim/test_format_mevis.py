"""MeViS: expressions and the masks of their objects, in two files."""

from pathlib import Path
from typing import Any

import pytest
from format_kit import NAMES, columns, dump, mask, one, refused, samples, trained, write_pictures

from swim.data.rows.read import read_rows
from swim.data.types import DataError
from swim.recipe import Recipe

KIND = "mevis"
FRAMES = ["00000", "00001", "00002"]
MASKS = {
    "11": [mask(0), None, mask(32)],
    "12": [mask(64), mask(64), None],
    "13": [mask(16), None, None],
}


def video(*expressions: dict[str, Any]) -> dict[str, Any]:
    return {"expressions": {str(i): e for i, e in enumerate(expressions)}, "vid_id": 4, "frames": FRAMES}


def expression(text: str, *ids: int) -> dict[str, Any]:
    return {"exp": text, "obj_id": list(range(len(ids))), "anno_id": list(ids)}


def write(folder: Path) -> Path:
    dump(folder / "mask_dict.json", MASKS)
    videos = {
        "dog": video(expression("The dog running to the left", 11)),
        "cat": video(expression("two cats jumping over each other.", 11, 12)),
        "ball": video(expression("ball that is kicked away", 13)),
    }
    return dump(folder / "meta_expressions.json", {"videos": videos})


def test_three_rows_train(tmp_path: Path, nano: Recipe) -> None:
    read, clips, _ = trained(write(tmp_path), write_pictures(tmp_path / "JPEGImages"), KIND, nano)
    assert [sample.video for sample in read] == NAMES
    assert read[0].key == "meta_expressions:00000000:dog-0"
    assert [(turn.human, turn.gpt) for sample in read for turn in sample.turns] == [
        ("Which object of the video is meant: The <ins>dog</ins> running to the left?", "The <ins>dog</ins>."),
        ("Which object of the video is meant: two <ins>cats</ins> jumping over each other?", "The <ins>cats</ins>."),
        ("Which object of the video is meant: <ins>ball</ins> that is kicked away?", "The <ins>ball</ins>."),
    ]
    assert [len(clip.masks) for clip in clips] == [2, 2, 2]


def test_several_objects_are_what_they_cover_together(tmp_path: Path) -> None:
    sample = samples(write(tmp_path), KIND)[1]
    assert sample.tracks[0] == sample.tracks[1]
    assert columns(sample, 0, 0) == [*range(32), *range(64, 96)]
    assert columns(sample, 0, 1) == list(range(64, 96))


def row(entry: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    entry = entry or video(expression("The dog", 11))
    return {"videos": {"dog": entry}, "mask_dict": MASKS} | more


TWO = video(expression("The dog", 11), expression("The cat", 12))


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        (row(TWO), "videos['dog'].expressions", "not one expression"),
        (row(mask_dict=None), "mask_dict", "no masks"),
        (row(mask_dict={}), "mask_dict['11']", "0 masks for 3 pictures"),
        (row(video(expression("The dog"))), "anno_id", "no objects"),
        (row(video(expression("", 11))), "exp", "missing or no text"),
        (row(video(expression("Move from left to right", 11))), "exp", "may be a noun or a verb"),
        (row(video(expression("The object on the left", 11))), "exp", "does not say what the object is"),
        (row(video(expression("It runs away", 11))), "exp", "no noun found"),
        (row(video(expression("The <ins>dog</ins>", 11))), "exp", ""),
        (row(video(expression("The dog", 11)) | {"frames": FRAMES[::-1]}), "frames", "not in order"),
        (row(video(expression("The dog", 11)) | {"frames": None}), "frames", "not a list of names"),
        ({"videos": {"../dog": video(expression("The dog", 11))}, "mask_dict": MASKS}, "videos", "no name of a folder"),
    ],
)
def test_a_wrong_row_is_refused_with_the_right_one(raw: dict[str, Any], field: str, reason: str) -> None:
    with refused(KIND, field, reason):
        one(raw, KIND)


def test_expressions_without_masks_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path)
    (tmp_path / "mask_dict.json").unlink()
    with pytest.raises(DataError, match=r"expressions without masks \(put mask_dict\.json"):
        list(read_rows(file))
