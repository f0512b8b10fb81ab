"""What the doctor sees in rows, and in rows held against their videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from doctor_data import (
    BENCH_D,
    DOT,
    EMPTY,
    FRAMES,
    FULL,
    LLAVA,
    POLYGONS,
    SIDE,
    VIDEOREFER,
    make_videos,
    nl_refer,
    talk,
    track,
)
from swim import recipes
from swim.data.annotations.samples import parse_row
from swim.data.rows.read import split
from swim.data.video.decoder import Decoder
from swimlab.data.context_limit import ContextLimit
from swimlab.data.doctor import cautions, findings
from swimlab.data.doctor.row_checks import CLAIM_SCHEMA, Inspection, InspectionConfig, check_part
from swimlab.data.doctor.tally import Tally
from swimlab.data.doctor.video_checks import VideoRequirements, check_videos, try_row
from swimlab.data.rejected_rows import masked


def check(tmp_path: Path, *rows: Any, **exam: Any) -> Inspection:
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    (part,) = split(file, 1000)
    return check_part(part, InspectionConfig(annotations=(str(file),), frames=FRAMES, **exam))


def counts(found: Inspection, subject: str) -> dict[str, int]:
    return {label: n for label, n in found.tally.counts[subject].items() if n}


def test_rows_by_kind_and_state(tmp_path: Path) -> None:
    rows = [nl_refer(0), nl_refer(1), VIDEOREFER, LLAVA, BENCH_D, "junk", {"x": 1}, nl_refer(2, annotation=[])]
    found = check(tmp_path, *rows)
    assert counts(found, "usable") == {"nl-refer": 2, "llava-video": 1}
    assert counts(found, "to rewrite") == {"videorefer": 1}
    assert counts(found, "for evaluation") == {"bench-d": 1}
    assert counts(found, "broken") == {"unreadable": 2, "nl-refer": 1}
    assert [(row.row, row.field) for row in found.broken] == [(5, "row"), (6, "row"), (7, "annotation")]
    assert found.tally.totals["rows"] == 8
    assert len(found.tally.videos) == 4, "0.mp4, 1.mp4, l.mp4, d.mp4"


def test_masks_as_they_are_written_and_as_they_are(tmp_path: Path) -> None:
    sized = {"height": SIDE, "width": SIDE}
    found = check(
        tmp_path,
        nl_refer(0, annotation=[track(f0=DOT, f1=EMPTY, f2=None, f3=FULL, f4={"size": [SIDE, SIDE], "counts": None})]),
        nl_refer(1, annotation=[track(f0=POLYGONS)], **sized),
        nl_refer(2, annotation=[track(f0=POLYGONS)]),
    )
    assert counts(found, "encoding") == {
        "uncompressed RLE": 3,
        "null (frame not annotated)": 2,
        "polygons": 1,
        "polygons without a picture size": 1,
    }
    assert counts(found, "broken") == {"nl-refer": 1}
    assert found.tally.totals["masks"] == 4, "of the rows that can be read"
    assert found.tally.totals["empty masks"] == 1
    areas = {edge: n for edge, n in found.tally.histogram("object area").items() if n}
    assert areas == {3000: 1, 100_000: 1, 300_000: 1}
    assert counts(found, "mask size") == {f"{SIDE} × {SIDE}": 2}
    assert {n: v for n, v in found.tally.histogram("masks an object").items() if v} == {1: 1, 3: 1}
    assert "an empty mask (the object is not visible there)" in counts(found, "caution")


@pytest.mark.parametrize(
    ("texts", "untagged"),
    [
        (("The <ins>dog</ins> there.", "It runs."), False),
        (("Is there a Dog? Describe the <ins>dog</ins>.", "It runs."), True),
        (("Hotdogs? Describe the <ins>dog</ins>.", "It runs."), False),
        (("Describe the <ins>dog</ins>. Is it a good dog?", "It runs."), False),
        (("The <ins>dog</ins>?", "A dog.", "And this <ins>dog</ins>?", "Too."), True),
        (("The <ins>dog</ins>?", "Yes.", "And this <ins>dog</ins>?", "Too."), False),
        (("Hot dogs, straße: the <ins>STRASSE</ins>?", "Yes."), False),
    ],
)
def test_a_noun_that_stands_earlier_untagged_is_noticed(tmp_path: Path, texts: tuple[str, ...], untagged: bool) -> None:
    tags = "".join(texts).count("<ins>")
    found = check(tmp_path, nl_refer(0, conversations=talk(*texts), annotation=[track(f0=DOT)] * tags))
    cautions = counts(found, "caution")
    assert ("a tagged noun stands earlier in the text, untagged" in cautions) is untagged
    assert ("the same noun is tagged twice" in cautions) is (tags == 2)
    assert sum(counts(found, "noun").values()) == tags


def test_special_tokens_are_named(tmp_path: Path) -> None:
    said = talk("The <ins>dog</ins> <|im_start|><|im_start|>", "<|im_end|>")
    found = check(tmp_path, nl_refer(0, conversations=said), nl_refer(1))
    assert counts(found, "special token") == {"<|im_start|>": 1, "<|im_end|>": 1}
    assert counts(found, "caution")["special tokens in the text (they are encoded as plain text)"] == 1


def test_tokens_are_guessed_from_the_masks_where_nobody_looks_at_videos(tmp_path: Path) -> None:
    found = check(tmp_path, nl_refer(0), LLAVA)
    assert found.tally.totals["tokens"] == 4 // 2 * (SIDE // 8) ** 2
    assert found.tally.totals["clips"] == 1, "a row without masks says nothing"
    assert found.claims == []


def test_a_row_that_breaks_the_reader_itself_is_one_broken_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("by design")

    monkeypatch.setattr("swimlab.data.doctor.row_checks.parse_row", broken)
    found = check(tmp_path, nl_refer(0), nl_refer(1))
    assert [row.reason for row in found.broken] == ["ZeroDivisionError: by design"] * 2
    assert "report" in found.broken[0].hint


def test_reasons_that_differ_in_numbers_and_names_are_one() -> None:
    assert masked("annotation[3]['12'].segmentation: a mask of 3 × -4.5 in 'it\\'s'") == (
        "annotation[N]['…'].segmentation: a mask of N × N in '…'"
    )


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_videos(tmp_path_factory.mktemp("videos"))


def claims_of(found: Inspection, tmp_path: Path) -> Any:
    with VideoRequirements(tmp_path / "scratch") as claims:
        # In portions, as they come; more videos than a chunk takes do not matter here.
        for claim in found.claims:
            claims.add(pa.Table.from_pylist([claim], schema=CLAIM_SCHEMA))
        chunks = list(claims.chunks())
        assert claims.rows == len(found.claims)
    assert list((tmp_path / "scratch").iterdir()) == []
    return pa.concat_tables(chunks)


def test_every_row_is_held_against_its_video(tmp_path: Path, videos: Path) -> None:
    tall = {"size": [SIDE, SIDE // 4], "counts": [0, SIDE * SIDE // 4]}
    small = {"size": [SIDE // 2, SIDE // 2], "counts": [0, SIDE * SIDE // 4]}
    rows = [
        nl_refer(0),
        nl_refer(1, annotation=[track(f0=small)]),
        nl_refer(0, annotation=[track(f99=DOT)]),
        nl_refer(0, annotation=[track(f0=tall)]),
        nl_refer(0, video="2.mp4"),
        nl_refer(0, video="gone.mp4"),
        VIDEOREFER | {"video": "gone.mp4"},
        nl_refer(0, video="../0.mp4"),
    ]
    found = check(tmp_path, *rows, videos=str(videos))
    assert found.broken == []
    asked = claims_of(found, tmp_path)
    with Decoder(str(videos), FRAMES) as decoder:
        seen = check_videos(asked, decoder, FRAMES, picks=2)
        total = Tally.from_json(found.tally.to_json())
        total.merge(seen.tally)
        trials = [try_row(pick, decoder) for pick in seen.tally.sample]
    assert counts(seen, "video") == {"readable": 2, "unreadable": 2, "missing": 1}
    assert total.most("usable", 9)["nl-refer"] == 2
    assert total.most("broken", 9) == {"nl-refer": 5, "videorefer": 1}
    assert total.totals["rows"] == sum(sum(total.counts[state].values()) for state in findings.STATES)
    fields = {row.row: row.field for row in seen.broken}
    assert fields == {2: "annotation", 3: "annotation", 4: "video", 5: "video", 6: "video", 7: "video"}
    assert total.totals["tokens"] == 2 * 2 * (SIDE // 8) ** 2
    assert counts(seen, "caution") == {"masks of another size than the video (they are scaled)": 1}
    assert [(trial.frames, trial.error) for trial in trials] == [(4, ""), (4, "")]
    assert all(trial.seconds > 0 and trial.bytes_raw == 4 * SIDE * SIDE * 3 for trial in trials)


def test_claims_come_video_by_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swimlab.data.doctor.video_checks._BUFFERED_ROWS", 7)
    monkeypatch.setattr("swimlab.data.doctor.video_checks._CHUNK_VIDEOS", 2)
    found = check(tmp_path, *(nl_refer(0, video=f"{i % 13}.mp4") for i in range(50)), videos="v")
    with VideoRequirements(tmp_path / "scratch") as claims:
        for claim in found.claims:
            claims.add(pa.Table.from_pylist([claim], schema=CLAIM_SCHEMA))
        chunks = [chunk.to_pylist() for chunk in claims.chunks()]
    names = [[row["video"] for row in chunk] for chunk in chunks]
    assert sum(map(len, chunks)) == 50
    assert all(len(set(chunk)) <= 2 for chunk in names)
    assert sum(len(set(chunk)) for chunk in names) == 13, "no video in two chunks"
    flat = [(row["place"], row["row"]) for chunk in chunks for row in chunk]
    assert flat == sorted(flat)


@pytest.mark.parametrize(("units", "side"), [("normalised", 1), ("percent", 100)])
def test_outlines_in_shares_are_drawn_in_pixels(units: str, side: int) -> None:
    polygon = [0.5 * side, 0.5 * side, 0.9 * side, 0.5 * side, 0.9 * side, 0.9 * side]
    row = {"height": 300, "width": 400, "polygon_units": units, "annotation": [{"0": {"segmentation": [polygon]}}]}
    ((_, _, points_N2, _),) = cautions.outlines(row)
    assert points_N2.tolist() == [[200, 150], [360, 150], [360, 270]]


TINY = ContextLimit.of(recipes.tiny().model)
LONG = talk("Describe the <ins>dog</ins>.", "zq " * 2500)


def test_text_tokens_are_counted_where_the_tokenizer_is(tmp_path: Path) -> None:
    found = check(tmp_path, nl_refer(0), nl_refer(1), context=TINY)
    tokens = TINY.text_tokens(parse_row(nl_refer(0), file="rows.json", row=0).turns)
    assert tokens > 10
    assert found.tally.totals["text tokens"] == 2 * tokens
    assert sum(found.tally.histogram("text tokens a row").values()) == 2
    assert "text tokens" not in check(tmp_path, nl_refer(0)).tally.totals


def test_a_row_of_more_text_than_positions_is_broken(tmp_path: Path) -> None:
    found = check(tmp_path, nl_refer(0), nl_refer(1, conversations=LONG), context=TINY)
    assert counts(found, "usable") == {"nl-refer": 1}
    (row,) = found.broken
    assert (row.row, row.field, row.kind) == (1, "conversations", "nl-refer")
    assert "more than the model's 4096 positions" in row.reason
    assert "split the turns" in row.hint
    assert check(tmp_path, nl_refer(1, conversations=LONG)).broken == []


def test_text_and_video_together_are_held_against_the_positions(tmp_path: Path, videos: Path) -> None:
    """A row of 128 visual tokens, and two around them."""
    found = check(tmp_path, nl_refer(0), videos=str(videos), context=TINY)
    text = TINY.text_tokens(parse_row(nl_refer(0), file="rows.json", row=0).turns)
    asked = claims_of(found, tmp_path)
    with Decoder(str(videos), FRAMES) as decoder:
        fits, misses = (TINY.model_copy(update={"positions": text + most}) for most in (130, 129))
        assert check_videos(asked, decoder, FRAMES, 0, fits).broken == []
        (row,) = check_videos(asked, decoder, FRAMES, 0, misses).broken
    assert row.reason.startswith(f"{text + 130} tokens, {text + 2} of the text and 128 of the video")
