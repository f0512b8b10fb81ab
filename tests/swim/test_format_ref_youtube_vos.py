"""Ref-YouTube-VOS: expressions, and masks as pictures whose pixels are object numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_kit import HEIGHT, NAMES, WIDTH, columns, dump, one, refused, samples, trained, write_pictures
from PIL import Image

from swim.recipe import Recipe

KIND = "ref-youtube-vos"
FRAMES = ["00000", "00001", "00002"]


def masks(folder: Path, name: str, mode: str = "P", stems: list[str] = FRAMES) -> None:
    """Object 1 on the left, object 2 on the right, moving."""
    (folder / name).mkdir(parents=True)
    for i, stem in enumerate(stems):
        pixels_HW = np.zeros((HEIGHT, WIDTH), np.uint8)
        pixels_HW[:, 16 * i : 16 * i + 16] = 1
        pixels_HW[:, 96:] = 2
        picture = Image.fromarray(pixels_HW)
        if mode == "P":
            picture.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0])
        picture.convert(mode).save(folder / name / f"{stem}.png")


def entry(text: str, number: Any = "1", **more: Any) -> dict[str, Any]:
    return {"expressions": {"0": {"exp": text, "obj_id": number}}, "frames": FRAMES} | more


def write(root: Path) -> Path:
    for name in NAMES:
        masks(root / "train" / "Annotations", name)
    videos = {"dog": entry("a dog on the left"), "cat": entry("white cat in a box", "2"), "ball": entry("the red ball")}
    return dump(root / "meta_expressions" / "train" / "meta_expressions.json", {"videos": videos})


def test_three_rows_train(tmp_path: Path, nano: Recipe) -> None:
    videos = write_pictures(tmp_path / "train" / "JPEGImages")
    read, clips, _ = trained(write(tmp_path), videos, KIND, nano)
    assert [sample.video for sample in read] == NAMES
    assert [sample.turns[0].gpt for sample in read] == [f"The <ins>{name}</ins>." for name in NAMES]
    assert "meant: white <ins>cat</ins> in a box?" in read[1].turns[0].human
    assert [columns(read[0], 0, i) for i in range(3)] == [list(range(16 * i, 16 * i + 16)) for i in range(3)]
    assert columns(read[1], 0, 1) == list(range(96, WIDTH))
    assert [len(clip.masks) for clip in clips] == [2, 2, 2]


def test_masks_may_lie_beside_the_file_and_be_fewer_than_pictures(tmp_path: Path) -> None:
    masks(tmp_path / "Annotations", "dog", stems=FRAMES[:1])
    (sample,) = samples(dump(tmp_path / "meta.json", {"videos": {"dog": entry("a dog")}}), KIND)
    assert [list(track) for track in sample.tracks] == [[0], [0]]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        (entry("a dog", "5"), "mask_folder", "object 5 in none of 3 masks"),
        (entry("a dog", "0"), "obj_id", "is no object"),
        (entry("a dog", None), "obj_id", "is no object"),
        (entry("it"), "exp", "no noun found"),
        (entry("a dog", frames=["../00000"]), "frames", "is no name of a picture"),
    ],
)
def test_a_wrong_row_is_refused_with_the_right_one(
    tmp_path: Path, change: dict[str, Any], field: str, reason: str
) -> None:
    masks(tmp_path / "Annotations", "dog")
    with refused(KIND, field, reason):
        samples(dump(tmp_path / "meta.json", {"videos": {"dog": change}}), KIND)


def test_a_coloured_picture_is_no_mask(tmp_path: Path) -> None:
    masks(tmp_path / "Annotations", "dog", mode="RGB")
    with refused(KIND, "mask_folder", "00000.png is no mask"):
        samples(dump(tmp_path / "meta.json", {"videos": {"dog": entry("a dog")}}), KIND)


def test_a_row_cannot_name_a_folder_of_masks(tmp_path: Path) -> None:
    masks(tmp_path, "dog")
    with refused(KIND, "mask_folder", "cannot name the folder"):
        one({"videos": {"dog": entry("a dog")}, "mask_folder": str(tmp_path)}, KIND)


def test_links_to_masks_do_not_leave_their_folder(tmp_path: Path) -> None:
    masks(tmp_path / "elsewhere", "dog")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    with refused(KIND, "videos", "masks outside their folder"):
        samples(dump(tmp_path / "meta.json", {"videos": {"dog": entry("a dog")}}), KIND)
