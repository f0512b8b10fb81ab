"""COCO data of videos (YouTube-VIS): a file of videos, categories and masks is cut into a row a video."""

import json
from pathlib import Path
from typing import Any

import pytest
from format_kit import HEIGHT, NAMES, POLICY, WIDTH, columns, dump, mask, one, refused, samples, trained, write_pictures
from muxed import number

from swim.data.rows.read import read_rows
from swim.data.types import DataError
from swim.data.video.decode import decode_sample
from swim.recipe import Recipe

KIND = "coco-video"
CATEGORIES = [{"id": i, "name": name} for i, name in enumerate(["dog", "giant_panda", "ball"], start=1)]


def video(number: int, name: str, stems: tuple[str, ...] = ("00000", "00001", "00002")) -> dict[str, Any]:
    names = [f"{name}/{stem}.jpg" for stem in stems]
    return {"id": number, "file_names": names, "height": HEIGHT, "width": WIDTH, "length": len(names)}


def annotation(video_id: int, category: int, *masks: Any) -> dict[str, Any]:
    return {"id": 9, "video_id": video_id, "category_id": category, "segmentations": list(masks), "iscrowd": 0}


def content() -> dict[str, Any]:
    annotations = [
        annotation(3, 3, mask(0), None, mask(32)),
        annotation(1, 1, mask(0, 16), None, mask(32)),
        annotation(1, 2, None, mask(64), None),
        annotation(1, 1, mask(64, 16), None, None),
        annotation(2, 2, [[0, 0, 20, 0, 20, 20]], None, None),
    ]
    videos = [video(i, name) for i, name in enumerate(NAMES, start=1)]
    return {"info": {}, "annotations": annotations, "videos": videos, "categories": CATEGORIES}


@pytest.mark.parametrize("indent", [None, 1])
def test_three_rows_train(tmp_path: Path, nano: Recipe, indent: int | None) -> None:
    file = tmp_path / "instances.json"
    file.write_text(json.dumps(content(), indent=indent))
    if indent:
        assert [sample.video for sample in samples(file, KIND)] == NAMES
        return
    read, clips, _ = trained(file, write_pictures(tmp_path / "JPEGImages"), KIND, nano)
    assert [sample.video for sample in read] == NAMES
    assert [sample.turns[0].gpt for sample in read] == [
        "<ins>dog</ins>, <ins>giant panda</ins>",
        "<ins>giant panda</ins>",
        "<ins>ball</ins>",
    ]
    assert [len(clip.masks) for clip in clips] == [2, 1, 1]


def test_objects_of_one_category_are_one_noun(tmp_path: Path) -> None:
    sample = samples(dump(tmp_path / "instances.json", content()), KIND)[0]
    assert [sorted(track) for track in sample.tracks] == [[0, 2], [1]]
    assert columns(sample, 0, 0) == [*range(16), *range(64, 80)]
    assert columns(sample, 0, 2) == list(range(32, 64))


@pytest.mark.parametrize("before", ["", "img_"])  # OVIS has names with letters
def test_frames_are_known_by_the_numbers_of_their_pictures(tmp_path: Path, before: str) -> None:
    listed = tuple(f"{before}{stem}" for stem in ("00000", "00005", "00010"))
    numbered = content() | {"videos": [video(i, n, listed) for i, n in enumerate(NAMES, start=1)]}
    read = samples(dump(tmp_path / "instances.json", numbered), KIND)
    assert [sample.frames for sample in read] == ["number"] * 3
    assert [sorted(track) for track in read[0].tracks] == [[0, 10], [5]]
    # The folder has one more picture than the file lists, as that of all frames of YouTube-VIS has.
    videos = write_pictures(
        tmp_path / "JPEGImages", stems=tuple(f"{before}{stem}" for stem in ("00000", "00003", "00005", "00010"))
    )
    clip = decode_sample(read[0], videos, POLICY)
    assert [sorted(track) for track in clip.masks] == [[0, 3], [2]]
    assert [number(clip.frames_THWC[i]) for i in (0, 2, 3)] == [0, 2, 3]


def test_masks_follow_their_pictures_in_any_order(tmp_path: Path) -> None:
    names = ("b", "a", "c")
    sample = samples(
        dump(
            tmp_path / "instances.json",
            content() | {"videos": [video(1, "dog", names)]} | {"annotations": [annotation(1, 1, mask(0), None, None)]},
        ),
        KIND,
    )[0]
    assert ([sorted(track) for track in sample.tracks], sample.frames) == ([[1]], "position")


@pytest.mark.parametrize("field", ["videos", "categories"])
def test_one_id_for_two_is_an_error_of_the_file(tmp_path: Path, field: str) -> None:
    whole = content()
    whole[field] = [entry | {"id": 1} for entry in whole[field]]
    with pytest.raises(DataError, match=f"{field}.*the id 1 twice"):
        list(read_rows(dump(tmp_path / "instances.json", whole)))


def row(**more: Any) -> dict[str, Any]:
    whole = {"annotations": [annotation(1, 1, mask(0), None, None)], "categories": CATEGORIES}
    return whole | {"videos": [video(1, "dog")]} | more


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"videos": [video(1, "dog"), video(2, "cat")]}, "videos", "not one video"),
        ({"videos": [video(1, "dog") | {"file_names": []}]}, "videos[0].file_names", "not a list of names"),
        ({"videos": [video(1, "dog") | {"file_names": ["0.jpg"]}]}, "videos[0].file_names", "not in one folder"),
        ({"videos": [video(1, "dog") | {"file_names": ["a/0.jpg"] * 3}]}, "videos[0].file_names", "a picture twice"),
        ({"annotations": []}, "annotations", "no objects"),
        ({"annotations": [annotation(2, 1, mask(0))]}, "annotations[0].video_id", "not of this video"),
        ({"annotations": [annotation(1, 1, mask(0))]}, "annotations[0].segmentations", "1 masks for 3 pictures"),
        (
            {"annotations": [annotation(1, 1, None, None, None)]},
            "annotations[0].segmentations",
            "no frame is annotated",
        ),
        ({"annotations": [annotation(1, 8, mask(0), None, None)]}, "annotations[0].category_id", "no category 8"),
        (
            {"annotations": [annotation(1, 1, mask(0) | {"counts": [3]}, None, None)]},
            "annotations[0].segmentations['0'].segmentation",
            "",
        ),
    ],
)
def test_a_wrong_row_is_refused_with_the_right_one(change: dict[str, Any], field: str, reason: str) -> None:
    with refused(KIND, field, reason):
        one(row() | change, KIND)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"annotations": None}, "no list"),
        ({"annotations": [annotation(7, 1, None)]}, "objects of a video 7 that is not listed"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    file = dump(tmp_path / "instances.json", content() | change)
    with pytest.raises(DataError, match=reason):
        list(read_rows(file))


def test_a_key_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "instances.json"
    file.write_text('{"videos": [], "annotations": [], "videos": [1]}')
    with pytest.raises(DataError, match="the key 'videos' twice"):
        list(read_rows(file))
