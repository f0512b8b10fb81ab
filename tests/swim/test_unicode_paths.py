"""A video is found however its accents are written, in its row and on the disk."""

import unicodedata
from pathlib import Path

import pytest

from swim.data.types import DataError
from swim.data.video.media import resolve_video
from swim.data.video.unicode_paths import spellings

NAME = "Crème/brûlée.mp4"
COMPOSED, APART = (unicodedata.normalize(form, NAME) for form in ("NFC", "NFD"))
MIXED = f"{COMPOSED.split('/')[0]}/{APART.split('/')[1]}"


def written(root: Path, name: str) -> Path:
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(name.encode())
    return path


@pytest.mark.parametrize("on_disk", [COMPOSED, APART, MIXED])
@pytest.mark.parametrize("in_row", [COMPOSED, APART, MIXED])
def test_a_video_is_found_however_its_accents_are_written(tmp_path: Path, on_disk: str, in_row: str) -> None:
    path = written(tmp_path, on_disk)
    assert resolve_video(tmp_path, in_row) == path


@pytest.mark.parametrize("in_row", [COMPOSED, APART])
def test_of_two_files_the_one_written_is_meant(tmp_path: Path, in_row: str) -> None:
    paths = [written(tmp_path, name) for name in (COMPOSED, APART)]
    if paths[0].samefile(paths[1]):
        pytest.skip("this disk takes both spellings for one name")
    assert resolve_video(tmp_path, in_row).read_bytes() == in_row.encode()


def test_of_two_files_that_are_spelt_otherwise_none_is_guessed(tmp_path: Path) -> None:
    half = "Cr\u00e8me\u0301.mp4", "Cre\u0300me\u0301.mp4"  # neither composed nor decomposed as a whole, and the latter
    for form in ("NFC", "NFD"):
        written(tmp_path, unicodedata.normalize(form, half[0]))
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk takes both spellings for one name")
    assert half[0] not in {path.name for path in tmp_path.iterdir()}
    with pytest.raises(DataError, match="no such file"):
        resolve_video(tmp_path, half[0])


def test_a_path_may_still_not_leave_the_root(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    outside = written(tmp_path, unicodedata.normalize("NFC", "é.mp4"))
    (tmp_path / "root" / outside.name).symlink_to(outside)
    with pytest.raises(DataError, match="outside the videos folder"):
        resolve_video(tmp_path / "root", unicodedata.normalize("NFD", outside.name))


def test_plain_names_have_one_spelling() -> None:
    assert spellings("a/b.mp4") == ["a/b.mp4"]
    assert spellings(MIXED) == [MIXED, COMPOSED, APART]
