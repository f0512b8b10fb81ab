"""Polygons in pixels, in shares of the picture and in percent: read as the row says, refused where nothing says it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swim.data.annotations.samples import parse_row
from swim.data.masks.encodings import decode
from swim.data.types import DataError

HEIGHT, WIDTH = 240, 320
SHARES = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=6)


def row(*masks: Any, **fields: Any) -> dict[str, Any]:
    """A row with one object, and these polygons in its frames."""
    talk = [{"from": "human", "value": "The <ins>dog</ins>?"}, {"from": "gpt", "value": "Runs."}]
    frames = {str(frame): {"segmentation": mask} for frame, mask in enumerate(masks)}
    return {"video": "v", "conversations": talk, "annotation": [frames], "height": HEIGHT, "width": WIDTH} | fields


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def pixels(raw: dict[str, Any], frame: int = 0) -> Any:
    return decode(parse_row(raw, file="f.json", row=0).tracks[0][frame])


def refused(raw: dict[str, Any]) -> DataError:
    with pytest.raises(DataError) as caught:
        parse_row(raw, file="f.json", row=0)
    return caught.value


@pytest.mark.parametrize(
    "mask",
    [box(0.05, 0.05, 0.95, 0.95), box(0.1, 0.1, 0.4, 0.4), box(0, 0, 1, 1), box(-0.01, 0.2, 1.004, 1), [[0] * 6]],
)
def test_shares_are_refused_with_what_to_do(mask: Any) -> None:
    for raw in (row(mask), row(box(20, 20, 300, 200), mask), row(box(0.1, 0.1, 0.4, 0.4)[0:1] + mask)):
        error = refused(raw)
        assert error.reason == "coordinates look normalised (all at most 1)"
        assert "multiply x by the width and y by the height" in error.hint
        assert '"polygon_units": "normalised"' in error.hint


@pytest.mark.parametrize(
    "mask", [box(5, 5, 95, 95), box(10.5, 20, 40, 90.25), box(0, 0, 100, 100), box(-1, 3, 101, 50)]
)
def test_percent_is_refused_where_a_larger_picture_shows_it(mask: Any) -> None:
    error = refused(row(mask, box(30, 30, 60, 60)))
    assert error.reason == "coordinates look like percent (all at most 100 in a picture of 240 × 320)"
    assert '"polygon_units": "percent"' in error.hint
    assert '"pixels" if they are pixels' in error.hint
    assert pixels(row(mask, polygon_units="pixels")).any()


def test_pixels_that_only_resemble_shares_are_read() -> None:
    """One object far from the corner shows what all coordinates of the row are; so does a picture that is no larger."""
    assert pixels(row(box(5, 5, 95, 95), box(200, 20, 300, 90)))[5:95, 5:95].all()
    assert pixels(row(box(5, 5, 95, 95), height=100, width=900)).sum() == 90 * 90
    assert pixels(row(box(5, 5, 95, 95), height=128, width=128)).sum() == 90 * 90
    assert pixels(row(box(0, 0, 1, 1), height=2, width=2)).sum() == 1


@given(SHARES)
@settings(max_examples=60)
def test_a_row_that_says_its_units_has_the_masks_of_its_pixels(shares: list[tuple[float, float]]) -> None:
    """The three ways to write one outline give one mask."""
    written = {
        "pixels": [[side for x, y in shares for side in (x * WIDTH, y * HEIGHT)]],
        "normalised": [[side for x, y in shares for side in (x, y)]],
        "normalized": [[side for x, y in shares for side in (x, y)]],
        "percent": [[side for x, y in shares for side in (x * 100, y * 100)]],
    }
    whole = {"segmentation": box(0, 0, WIDTH, HEIGHT)}  # so that no object is empty
    masks = []
    for units, polygons in written.items():
        scale = {"pixels": (WIDTH, HEIGHT), "percent": (100, 100)}.get(units, (1, 1))
        whole = {"segmentation": box(0, 0, *scale)}
        raw = row(polygons, polygon_units=units)
        raw["annotation"][0]["7"] = whole
        masks.append(pixels(raw))
    assert all(abs(mask.astype(int) - masks[0]).sum() <= 4 for mask in masks)  # 0.29 * 100 is not 29: an edge may move


def test_the_size_of_a_frame_scales_its_polygons() -> None:
    raw = row(box(0, 0, 0.5, 1), polygon_units="normalised")
    raw["annotation"][0]["0"]["size"] = [10, 20]
    assert pixels(raw).shape == (10, 20)
    assert pixels(raw).sum() == 100


def test_what_is_no_share_is_refused() -> None:
    error = refused(row(box(0, 0, 5, 1), polygon_units="normalised"))
    assert (error.reason, error.field) == ("a coordinate is outside 0 to 1", "annotation[0]['0'].segmentation")
    assert 'correct polygon_units: "normalised"' in error.hint
    assert refused(row(box(0, 0, 50, 101 * 2), polygon_units="percent")).reason == "a coordinate is outside 0 to 100"
    assert refused(row(box(0, 0, 9, 9), polygon_units="cm")).field == "polygon_units"
    without_size = row(box(0, 0, 1, 1), polygon_units="normalised", height=None)
    assert refused(without_size).reason == "polygons without a picture size"
