"""Masks whose keys are the numbers in the names of pictures, through the decoder's process."""

from pathlib import Path
from typing import Any

import pytest
from muxed import picture, write
from PIL import Image
from test_decoder import POLICY, RLE, child, sample

from swim.data.types import DataError
from swim.data.video.decode import decode_sample
from swim.data.video.decoder import Decoder


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video, and a folder of three pictures called 10, 15 and 25."""
    root = tmp_path_factory.mktemp("videos")
    write(root / "a.mp4")
    (root / "numbered").mkdir()
    for name in (10, 15, 25):
        Image.fromarray(picture(name)).save(root / "numbered" / f"{name:05d}.png")
    return root


@pytest.mark.parametrize(("policy", "frames"), [("number", None), (None, "number"), ("position", "number")])
def test_keys_may_be_the_numbers_in_names(numbered: Path, policy: Any, frames: Any) -> None:
    row = sample("numbered", {15: RLE, 25: RLE}, {10: RLE}).model_copy(update={"frames": frames})
    policy = POLICY.model_copy(update={"numbering": policy})
    with Decoder(str(numbered), policy) as decoder:
        clip = decoder.clip(row)
        assert clip.frame_indices == (0, 1, 2, 2)
        assert [sorted(track) for track in clip.masks] == [[1, 2, 3], [0]]
        assert clip.to_row() == decode_sample(row, numbered, policy).to_row()
        with pytest.raises(DataError, match=r"no picture has the number 11 .*from 10 to 25"):
            decoder.clip(row.model_copy(update={"tracks": ({11: RLE},)}))
        # A video file has no other numbers than its positions.
        video = decoder.clip(row.model_copy(update={"video": "a.mp4", "tracks": ({15: RLE},)}))
        assert 15 in video.frame_indices


def test_keys_by_number_that_are_taken_for_positions_are_refused_with_the_way_out(numbered: Path) -> None:
    with pytest.raises(DataError, match=r'past the end of 3 pictures .*"frames": "number"'):
        decode_sample(sample("numbered", {15: RLE}), numbered, POLICY)


@pytest.mark.parametrize(
    "numbers", [5, [[0, 1]], [[0, 1, 39]], [[0, 1, 20], [10, 1, 20]], [[0, 0, 40]], [["0", 1, 40]]]
)
def test_numbers_that_cannot_be_are_not_believed(numbers: Any, numbered: Path) -> None:
    does = f"hear(); info['numbers'] = {numbers!r}; say({{'info': info}})"
    with Decoder(str(numbered), POLICY, command=child(does)) as decoder, pytest.raises(DataError, match="died twice"):
        decoder.probe("a.mp4")
