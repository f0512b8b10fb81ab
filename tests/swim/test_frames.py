"""Which frames are kept and at what size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swim.data.types import DataError, ReferSample, Rle, Turn
from swim.data.video import frame_choice
from swim.recipe import FramePolicy

POLICY = FramePolicy(max_frames=8, min_pixels=32 * 32, max_pixels=64 * 64, cell_px=8)


@given(st.integers(1, 80), st.sets(st.integers(0, 79), max_size=8))
def test_annotated_frames_are_in_and_the_rest_spread(n_frames: int, annotated: set[int]) -> None:
    annotated = {frame for frame in annotated if frame < n_frames}
    chosen = frame_choice.choose_frames(n_frames, annotated, POLICY)
    assert chosen == sorted(chosen)
    assert annotated <= set(chosen)
    assert len(chosen) == min(8, n_frames + n_frames % 2)
    assert len(set(chosen)) == min(8, n_frames)
    if not annotated and n_frames >= 8:
        assert chosen == np.linspace(0, n_frames - 1, 8).round().astype(int).tolist()


def test_annotations_that_cannot_be_kept_are_refused() -> None:
    with pytest.raises(DataError, match=r"past the end of 10 frames.*frame 10 is"):
        frame_choice.choose_frames(10, [3, 10], POLICY)
    with pytest.raises(DataError, match=r"9 annotated frames, 8 fit.*max_frames to 10"):
        frame_choice.choose_frames(100, range(9), POLICY)
    with pytest.raises(DataError, match="no frame is shown"):
        frame_choice.choose_frames(0, [], POLICY)


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_sizes_are_whole_cells_near_the_shape(height: int, width: int) -> None:
    policy = FramePolicy()
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(DataError, match="200 times"):
            frame_choice.smart_resize(height, width, policy)
        return
    h, w = frame_choice.smart_resize(height, width, policy)
    assert h % 28 == w % 28 == 0
    if max(height, width) <= 20 * min(height, width):  # beyond, one cell may be more than the budget allows
        assert policy.min_pixels <= h * w <= policy.max_pixels
        assert abs(np.log(h / w) - np.log(height / width)) < np.log(1 + 28 / min(h, w)) * 1.5


def test_smart_resize_agrees_with_the_published_processor() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as published

    rng = np.random.default_rng(0)
    for height, width in rng.integers(30, 2500, (200, 2)).tolist():
        ours = frame_choice.smart_resize(height, width, FramePolicy())
        assert ours == tuple(published(height, width, factor=28, min_pixels=100_352, max_pixels=602_112))


def test_what_no_camera_makes_is_refused() -> None:
    frame_choice.check_size(4320, 7680)
    frame_choice.check_frames(30 * 60 * 60 * 9)
    for height, width in ((100_000, 100_000), (16_384, 16_384), (20_000, 10), (0, 5), (5, -1)):
        with pytest.raises(DataError, match=f"{height} × {width} picture"):
            frame_choice.check_size(height, width)
    with pytest.raises(DataError, match="more than 1048576 frames"):
        frame_choice.check_frames(2**31)


def test_a_row_asks_for_its_masks_frames_and_sizes() -> None:
    tracks = ({9: Rle(height=36, width=64, counts="0"), 3: Rle(height=36, width=64, counts="0")},
              {3: Rle(height=72, width=128, counts="0")})  # fmt: skip
    sample = ReferSample(key="k", file="f", row=0, video="v", turns=(Turn(human="a", gpt="b"),), tracks=tracks)
    needs = frame_choice.frame_needs(sample)
    assert needs == frame_choice.FrameNeeds(frames=(3, 9), mask_sizes=((36, 64), (72, 128)))
    info = frame_choice.VideoInfo(frames=20, height=720, width=1280, fps=10.0, seekable=True)
    indices, size = frame_choice.plan_frames(info, needs, POLICY)
    assert {3, 9} < set(indices)
    assert size == frame_choice.smart_resize(720, 1280, POLICY)
    with pytest.raises(DataError, match="a mask of 64 × 36 does not fit"):
        frame_choice.plan_frames(info, frame_choice.FrameNeeds((3,), ((64, 36),)), POLICY)
