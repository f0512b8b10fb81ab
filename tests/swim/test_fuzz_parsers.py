"""Hostile input for the pure parsers: whatever comes in, a sample or a DataError comes out, in little memory.

SWIMLAB_FUZZ is the number of inputs of each test, at least 1000 (what comes out is counted, and must be of all kinds);
every input is a function of its number, which failures name.
"""

import json
import os
import random
import re
import resource
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from area_oracle import resize_to
from mutations import DEEP, HOSTILE, TAG_PIECES, TEXT_PIECES, mutated, mutated_text
from pycocotools import mask as coco
from row_kinds import (
    BENCH_D,
    BENCH_Q,
    COCO_VIDEO,
    HF_DATASETS,
    KINDS,
    LLAMA_FACTORY,
    LLAVA,
    MEVIS,
    MS_SWIFT,
    NL_BENCH_D,
    NL_REFER,
    QA,
)

from swim import registry
from swim.data.annotations.markup import MarkupError, strip_tags
from swim.data.annotations.samples import FORMATS, parse_row, require_marked
from swim.data.annotations.texts import uniform
from swim.data.masks import encodings
from swim.data.types import DataError, ReferSample

INPUTS = max(1000, int(os.environ.get("SWIMLAB_FUZZ", "1500")))
MAX_GROWTH_KB = 128 * 1024  # of the process, over all inputs; a mask of 16,384 × 16,384 pixels would need twice that
ROWS = [raw for _, raw, _, _ in KINDS]
ENTRIES = {name: registry.load(FORMATS, name) for name in registry.names(FORMATS)}
NEW = (
    MS_SWIFT,
    LLAMA_FACTORY,
    COCO_VIDEO,
    MEVIS,
    HF_DATASETS,
    {"videos": MEVIS["videos"], "mask_folder": "Annotations"},
)
ONE_A_FORMAT = (NL_REFER, QA, LLAVA, BENCH_D, NL_BENCH_D, BENCH_Q, *NEW)


def fuzz(one: Callable[[random.Random], str]) -> Counter[str]:
    """What came out of each input, counted. Any exception but those that `one` expects fails, naming the input."""
    outcomes: Counter[str] = Counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(INPUTS):
        try:
            outcomes[one(random.Random(number))] += 1
        except Exception as error:
            raise AssertionError(f"input {number}: {type(error).__name__}") from error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KB
    return outcomes


def check_error(error: DataError) -> str:
    """What a quarantine record needs: valid, short text in every part."""
    for text in (error.reason, error.field, error.hint, error.key, str(error)):
        text.encode()
        assert 0 < len(text) < 1500
    assert (error.file, error.row) == ("f.json", 3)
    return "refused"


def check_short(error: Exception, as_it_should_be: bool) -> str:
    assert as_it_should_be
    assert 0 < len(str(error)) < 400
    return "refused"


def check_sample(sample: ReferSample, raw: dict[str, Any]) -> None:
    assert ReferSample.model_validate_json(sample.model_dump_json()) == sample
    text = "".join(turn.human + turn.gpt for turn in sample.turns)
    marks = {"ins": text.count("<ins>"), "region": text.count("<region>"), "none": 0}[sample.marks]
    assert len(sample.tracks) == marks
    if sample.kind in ("nl-refer", "videorefer", "llava-video"):
        for i, turn in enumerate(sample.turns):
            assert turn.human in uniform(raw["conversations"][2 * i]["value"])
            assert turn.gpt == uniform(raw["conversations"][2 * i + 1]["value"])
    for track in sample.tracks:
        assert any(encodings.area(rle) for rle in track.values())
        for rle in track.values():
            grid_hw = encodings.to_grid(rle, 3, 2)
            assert 0 <= grid_hw.min() <= grid_hw.max() <= 1


def read(raw: Any) -> str:
    if isinstance(raw, dict):
        claims = [name for name, entry in ENTRIES.items() if entry.matches(raw)]
        assert len(claims) < 2
    try:
        sample = parse_row(raw, file="f.json", row=3)
    except DataError as error:
        return check_error(error)
    check_sample(sample, raw)
    assert parse_row(raw, file="f.json", row=3, formats=(sample.kind,)) == sample
    try:
        require_marked(sample)
    except DataError as error:
        check_error(error)
    return sample.kind


def test_rows_with_anything_wrong_become_samples_or_errors() -> None:
    outcomes = fuzz(lambda rng: read(mutated(rng, ROWS)))
    # Both sides are tried: a fuzzer that is always refused at the door tests the door.
    # The masks of ref-youtube-vos are pictures, which no row of these has.
    assert set(outcomes) == {"refused", *ENTRIES} - {"ref-youtube-vos"}
    assert INPUTS / 5 < outcomes["refused"] < INPUTS


@pytest.mark.fault(
    injection="hostile values in every place of a row",
    symptom="a crash without row and field",
    expected="right: a sample or an error that names the field",
)
@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: type(value).__name__)
def test_any_value_in_any_place_is_a_sample_or_an_error(value: Any) -> None:
    read(value)
    for raw in ONE_A_FORMAT:
        for field in [*raw, "slots"]:
            read(raw | {field: value})
            read(raw | {field: [value]})
        read(
            raw | {"conversations": [{"from": "human", "value": value}, {"from": "gpt", "value": "A", "slots": value}]}
        )
        for entry in (value, {"0": value}, {"0": {"segmentation": value}}):
            read(raw | {"annotation": [entry]})
        for size in (value, [value, value]):
            for counts in (value, [value], "1"):
                read(raw | {"annotation": [{"0": {"segmentation": {"size": size, "counts": counts}}}]})
            frame = {"segmentation": [[0, 0, 1, 0, 1, 1]], "size": size, "height": value, "width": value}
            read(raw | {"annotation": [{"0": frame}]})


def test_deep_values_are_as_deep_as_the_interpreter_bears() -> None:
    for value in DEEP:
        with pytest.raises(RecursionError):
            repr(value)
        with pytest.raises(RecursionError):
            json.dumps(value)


TAGS = re.compile("</?ins>")


def tags(rng: random.Random) -> str:
    pieces = TEXT_PIECES if rng.random() < 0.1 else TAG_PIECES if rng.random() < 0.5 else [*TAG_PIECES[:4], "a", " "]
    text = "".join(rng.choice(pieces) for _ in range(rng.randint(0, 12)))
    if rng.random() < 0.3:  # well formed, then perhaps not
        text = "".join(
            f"{rng.choice('ab ')}<ins>{rng.choice(['x', ' x', 'x y '])}</ins>" for _ in range(rng.randint(1, 5))
        )
        text = mutated_text(rng, text, TAG_PIECES) if rng.random() < 0.5 else text
    try:
        plain, spans = strip_tags(text)
    except MarkupError as error:
        return check_short(error, error.position in range(len(text)))
    assert plain == TAGS.sub("", text)
    opened = [match.end() for match in re.finditer("<ins>", text)]
    closed = [match.start() for match in re.finditer("</ins>", text)]
    assert len(spans) == len(opened) == len(closed)
    for span, start, end in zip(spans, opened, closed, strict=True):
        noun = text[start:end]
        assert span.text == noun.strip() == plain[span.start : span.end] != ""
        assert span.start == len(TAGS.sub("", text[:start])) + len(noun) - len(noun.lstrip())
    return "tagged" if spans else "plain"


def test_tags_are_found_where_they_were_or_refused() -> None:
    outcomes = fuzz(tags)
    assert all(outcomes[kind] > INPUTS / 20 for kind in ("refused", "tagged", "plain"))


SIDES = (1, 2, 3, 7, 16, 40)
ABSURD = (0, -1, 16_384, 16_385, 2**31, 2**63, 10**400, 3.0, True, None, "4", [])


def random_mask(rng: random.Random) -> np.ndarray:
    H, W = rng.choice(SIDES), rng.choice(SIDES)
    draw = np.random.default_rng(rng.getrandbits(32))
    return (draw.random((H, W)) < rng.choice((0, 0.02, 0.5, 1))).astype(np.uint8)


def lengths(mask_HW: np.ndarray) -> list[int]:
    edges = np.flatnonzero(np.diff(mask_HW.T.ravel(), prepend=0)).tolist()
    return np.diff([0, *edges, mask_HW.size]).tolist()


def segmentation(rng: random.Random) -> tuple[Any, np.ndarray | None]:
    """A segmentation of any kind, and the mask it must give where nothing was changed."""
    mask_HW = random_mask(rng)
    size: list[Any] = list(mask_HW.shape)
    packed = coco.encode(np.asfortranarray(mask_HW))["counts"].decode()
    counts: Any = rng.choice((packed, lengths(mask_HW)))
    change = rng.randrange(8)
    if change < 2:
        return {"size": size, "counts": counts}, mask_HW
    if change == 2:
        size[rng.randrange(2)] = rng.choice((*ABSURD, *SIDES))
    elif change == 3:
        counts = "".join(
            chr(rng.choice((rng.randint(48, 111), rng.randint(0, 130)))) for _ in range(rng.randint(0, 12))
        )
    elif change == 4:
        counts = [rng.choice((0, 1, 5, mask_HW.size, *ABSURD)) for _ in range(rng.randint(0, 6))]
    elif isinstance(counts, str):
        counts = mutated_text(rng, counts, ["0", "o", "P", "1", "\\", "oooooooo0"])
    else:
        counts.insert(rng.randint(0, len(counts)), rng.choice((0, 0, 1, -1, 2**32, *ABSURD)))
    return {"size": size, "counts": counts}, None


def run_lengths(rng: random.Random) -> str:
    raw, expected_HW = segmentation(rng)
    try:
        rle = encodings.to_rle(raw)
    except DataError as error:
        return check_short(error, expected_HW is None and error.field == "segmentation")
    if rle.height * rle.width > 2**20:  # 16,384 squared can be valid; its pixels are nobody's business here
        return "large"
    theirs = {"size": raw["size"], "counts": raw["counts"]}
    if isinstance(raw["counts"], list):
        theirs = coco.frPyObjects(theirs, *raw["size"])
    mask_HW = encodings.decode(rle)
    np.testing.assert_array_equal(mask_HW, coco.decode(theirs))
    assert encodings.area(rle) == mask_HW.sum()
    np.testing.assert_array_equal(encodings.to_grid(rle, 5, 3), resize_to(mask_HW, 5, 3))
    if expected_HW is not None:
        np.testing.assert_array_equal(mask_HW, expected_HW)
        return "as drawn"
    return "accepted"


def test_run_lengths_are_read_as_pycocotools_reads_them_or_refused() -> None:
    outcomes = fuzz(run_lengths)
    assert all(outcomes[kind] > INPUTS / 50 for kind in ("refused", "as drawn", "accepted"))


def polygons(rng: random.Random) -> str:
    height, width = (rng.choice((*SIDES, 1000, 8000)) for _ in range(2))
    if rng.random() < 0.1:
        height = rng.choice(ABSURD)
    scale = rng.choice((min(SIDES), 10, max(SIDES), 1000, 20_000, 1e300))
    count, length = rng.choice((1, 1, 2, 3, 0)), rng.choice((6, 6, 8, 20, 4, 7))
    if rng.random() < 0.05:
        count, length = rng.choice(((600, 6), (1, 1000), (20, 300)))
    points = [[rng.uniform(-0.1, 1.1) * scale for _ in range(length)] for _ in range(count)]
    if points and rng.random() < 0.1:
        points[0][0] = rng.choice(HOSTILE)
    try:
        rle = encodings.to_rle(points, height, width)
    except DataError as error:
        return check_short(error, error.field == "segmentation")
    assert (rle.height, rle.width) == (height, width)
    assert rle.counts == coco.merge(coco.frPyObjects(points, height, width))["counts"].decode()
    assert 0 <= encodings.area(rle) <= height * width
    return "accepted"


def test_polygons_are_drawn_as_pycocotools_draws_them_or_refused() -> None:
    outcomes = fuzz(polygons)
    assert all(outcomes[kind] > INPUTS / 50 for kind in ("refused", "accepted"))
