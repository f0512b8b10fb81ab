"""Which files of a folder are frames, in which order, and what the numbers in their names mean."""

import itertools

import pytest

from swim.data.types import DataError
from swim.data.video.frame_names import frame_names
from swim.data.video.numbering import number_runs, positions


@pytest.mark.parametrize(
    ("files", "numbers"),
    [
        (["0.jpg", "1.png", "2.webp"], [0, 1, 2]),
        (["9.jpg", "10.jpg", "100.jpg"], [9, 10, 100]),
        (["f_00000.JPG", "F_00005.jpeg", "f_00010.jfif"], [0, 5, 10]),
        (["clip7_1.jpg", "clip7_2.jpg"], [1, 2]),
        (["0.25.jpg", "0.50.jpg", "1.00.jpg"], None),
        (["shot1_9.jpg", "shot2_1.jpg"], None),
        (["a.jpg", "b.jpg"], None),
        ([f"{i * i * i}.jpg" for i in range(9000)], None),  # too irregular for the answer of the decoder
        (["0.jpg", "1234567890.jpg"], None),  # longer than a key may be
    ],
)
def test_order_and_numbers(files: list[str], numbers: list[int] | None) -> None:
    expected = (tuple(files), None if numbers is None else number_runs(numbers))
    shuffled = [*files[::-1], ".DS_Store", "._0.jpg", ".hidden.png", "._0.tif", "Thumbs.db", "notes.txt", "masks"]
    result = frame_names(shuffled)
    assert (result.names, result.numbers) == expected


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["00000.jpg", "00000.png", "00001.jpg"], "two pictures of one frame"),
        (["0.jpg", "00.jpg"], "two pictures of one frame"),
        (["a.jpg", "A.JPG"], "two pictures of one frame"),
        (["rgb_0.jpg", "rgb_1.jpg", "depth_0.png", "depth_1.png"], "more than one series"),
        (["0.jpg", "1.jpg", "1 (1).jpg"], "more than one series"),
        (["cover.jpg", "0.jpg", "1.jpg"], "more than one series"),
        (["0.5.jpg", "0.25.jpg"], "numbers with a point"),
        (["0.jpg", "1.tif", "2.jpg"], "pictures that are not read"),
        (["0.heic"], "pictures that are not read"),
        (["._0.jpg", ".DS_Store", "readme.md"], "without pictures"),
    ],
)
def test_names_that_give_no_order_are_refused(files: list[str], reason: str) -> None:
    for order in itertools.permutations(files) if len(files) < 4 else (files, files[::-1]):
        with pytest.raises(DataError, match=reason) as caught:
            frame_names(order)
        assert caught.value.field == "video"


@pytest.mark.parametrize("numbers", [[0, 1, 2], [5], [1, 2, 3], [0, 5, 10], [0, 1, 3, 7, 10], [3, 4, 5, 9, 12, 15, 99]])
def test_keys_by_number(numbers: list[int]) -> None:
    runs = number_runs(numbers)
    assert (runs == ()) == (numbers == list(range(len(numbers))))
    assert positions(numbers, runs) == {number: i for i, number in enumerate(numbers)}
    for key in set(range(101)) - set(numbers) if runs else ():
        with pytest.raises(DataError, match=f"no picture has the number {key}") as caught:
            positions([numbers[0], key], runs)
        assert caught.value.field == "annotation"


def test_names_without_a_number_have_no_keys_by_number() -> None:
    with pytest.raises(DataError, match="no number in the names"):
        positions([0], None)
