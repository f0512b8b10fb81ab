"""Rows are used exactly as written, or refused with file, row, field and what to do."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from swim.data.annotations import tracks
from swim.data.annotations.samples import example_row, parse_row, require_marked, sample_key
from swim.data.masks import encodings
from swim.data.rows.read import read_rows
from swim.data.types import DataError

MASK = {"size": [2, 3], "counts": [1, 2, 3]}
ROW: dict[str, Any] = {
    "id": "clip",
    "index": "videorefer_detailed_caption_clip",
    "video": "videos/clip.mp4",
    "conversations": [
        {"from": "human", "value": "<video>\nWhat does the <ins>dog</ins> do?"},
        {"from": "gpt", "value": "The <ins>dog</ins> runs.", "slots": [{"name": "motion", "start": 8, "end": 12}]},
        {"from": "human", "value": "And the <ins>cat</ins>?"},
        {"from": "gpt", "value": "It sleeps."},
    ],
    "annotation": [{"3": {"segmentation": MASK}}, {"3": {"segmentation": MASK}}, {"0": {"segmentation": MASK}}],
}


def changed(*path: Any, to: Any) -> dict[str, Any]:
    row = copy.deepcopy(ROW)
    target: Any = row
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = to
    return row


def test_a_row_becomes_a_sample() -> None:
    sample = parse_row(ROW, file="folder/nl_refer.json", row=7)
    assert sample.key == "nl_refer:00000007:clip"
    assert (sample.file, sample.row, sample.video) == ("folder/nl_refer.json", 7, "videos/clip.mp4")
    assert [turn.human for turn in sample.turns] == ["What does the <ins>dog</ins> do?", "And the <ins>cat</ins>?"]
    assert sample.turns[0].gpt == "The <ins>dog</ins> runs."
    assert sample.turns[0].slots[0].model_dump(exclude_none=True) == {"name": "motion", "start": 8, "end": 12}
    assert [list(track) for track in sample.tracks] == [[3], [3], [0]]
    assert encodings.decode(sample.tracks[2][0]).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert (sample.kind, sample.marks, sample.question_type, sample.options) == ("nl-refer", "ins", "", ())
    assert require_marked(sample) is sample


def test_qa_rows_are_text_only() -> None:
    sample = parse_row(changed("index", to="videorefer_qa_clip") | {"type": "Basic Questions"}, file="f.json", row=0)
    assert (sample.tracks, sample.marks, len(sample.turns)) == ((), "none", 2)
    assert sample.question_type == "Basic Questions"
    assert "<ins>dog</ins>" in sample.turns[0].human


@pytest.mark.parametrize("part", ["videorefer_detailed_caption", "videorefer_short_caption"])
def test_a_clip_whose_name_holds_qa_keeps_its_masks(part: str) -> None:
    assert len(parse_row(changed("index", to=f"{part}_Xqa7"), file="f.json", row=0).tracks) == 3


def test_tags_without_masks_are_refused_not_ignored() -> None:
    with pytest.raises(DataError, match="3 <ins> tags and no masks") as error:
        parse_row(changed("annotation", to=None), file="f.json", row=0)
    assert error.value.field == "annotation"


def test_llava_video_rows_need_no_annotation_key() -> None:
    row = {
        "video": "v.mp4",
        "conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}],
    }
    sample = parse_row(row, file="llava.jsonl", row=0)
    assert (sample.turns[0].human, sample.tracks, sample.key) == ("What?", (), "llava:00000000:?")


@pytest.mark.parametrize(
    "value", ["What?", "<video>\nWhat?", "<video>What?", "<image>\nWhat?", "What?\n<video>", "What?\n<image>\n"]
)
def test_the_video_may_be_named_before_or_behind_a_question(value: str) -> None:
    row = {"video": "v", "conversations": [{"from": "human", "value": value}, {"from": "gpt", "value": "That."}]}
    assert parse_row(row, file="f.json", row=0).turns[0].human == "What?"


def test_special_tokens_in_a_prompt_stay_text() -> None:
    said = "<|im_end|>\n<|im_start|>assistant\n<|endoftext|> The <ins>dog</ins>?"
    assert parse_row(turn(said), file="f.json", row=0).turns[0].human == said


def test_null_frames_are_not_annotated_and_empty_masks_are() -> None:
    empty = {"size": [2, 3], "counts": [6]}
    track = {"0": None, "1": {"segmentation": None}, "2": {"segmentation": MASK}, "4": {"segmentation": empty}}
    sample = parse_row(changed("annotation", 0, to=track), file="f.json", row=0)
    assert list(sample.tracks[0]) == [2, 4]


@pytest.mark.parametrize(
    ("value", "frames"),
    [("number", "number"), ("position", "position"), (None, None), (64, None), (["00000", "00005"], None)],
)
def test_frames_says_what_keys_mean_and_others_may_count_or_list_them(value: Any, frames: str | None) -> None:
    assert parse_row(ROW | {"frames": value}, file="f.json", row=0).frames == frames


def test_another_word_in_frames_is_refused() -> None:
    with pytest.raises(DataError, match="'numbers' is no way to number frames") as caught:
        parse_row(ROW | {"frames": "numbers"}, file="f.json", row=0)
    assert caught.value.field == "frames"


@pytest.mark.parametrize(
    "frame",
    [
        {},
        {"segmentation": {}},
        {"segmentation": {"size": [2, 3], "counts": None}},
        {"segmentation": {"size": [2, 3]}},
        {"size": [2, 3]},
        {"name": "00007.jpg"},
        {"segmentation": None, "bbox": None},
    ],
)
def test_a_frame_without_a_segmentation_is_not_annotated(frame: Any) -> None:
    track = {"0": frame, "2": {"segmentation": MASK}, "4": frame}
    assert list(parse_row(changed("annotation", 0, to=track), file="f.json", row=0).tracks[0]) == [2]


@pytest.mark.parametrize(
    "frame",
    [
        {"mask": MASK},
        {"size": [2, 3], "counts": "06"},
        {"bbox": [0, 0, 1, 1]},
        {"segmentation": None, "rle": "06"},
        {"Segmentation": "06"},
        {"segmentation": {"size": [2, 3], "rle": "06"}},
    ],
)
def test_a_mask_under_another_name_is_not_dropped(frame: Any) -> None:
    track = {"0": frame, "2": {"segmentation": MASK}}
    with pytest.raises(DataError, match="no segmentation, but '") as caught:
        parse_row(changed("annotation", 0, to=track), file="f.json", row=0)
    assert caught.value.field == "annotation[0]['0']"


def test_polygons_take_the_size_of_the_row() -> None:
    polygons = changed("annotation", 0, to={"1": {"segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}})
    sample = parse_row(polygons | {"height": 4, "width": 5}, file="f.json", row=0)
    assert encodings.decode(sample.tracks[0][1]).shape == (4, 5)
    with pytest.raises(DataError, match=r"polygons without a picture size.*'height' and 'width'"):
        parse_row(polygons, file="f.json", row=0)


@pytest.mark.parametrize(
    "own", [{"size": [7, 6]}, {"height": 7, "width": 6}, {"size": [7, 6], "height": 7, "width": 6}]
)
def test_polygons_take_the_size_of_their_frame_first(own: dict[str, Any]) -> None:
    frame = {"segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    row = changed("annotation", 0, to={"1": frame | own, "2": frame}) | {"height": 4, "width": 5}
    sample = parse_row(row, file="f.json", row=0)
    assert [(rle.height, rle.width) for rle in sample.tracks[0].values()] == [(7, 6), (4, 5)]


def test_a_frame_index_beside_the_annotation_is_not_read() -> None:
    for frame in ("3", 999, None, {}):
        assert list(parse_row(ROW | {"frame_idx": frame}, file="f.json", row=0).tracks[0]) == [3]


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a/b", "a/b"), (7, "7"), (1.5, "1.5"), (None, "?"), ([[]], "?"), (10**5000, "?"), ("\ud800", "\\ud800")],
    ids=lambda value: type(value).__name__,
)
def test_a_key_shows_any_id_and_is_valid_unicode(name: Any, shown: str) -> None:
    key = sample_key({"id": name}, file="d/f.json", row=12)
    assert key == f"f:00000012:{shown}"
    key.encode()
    assert len(sample_key({"id": "x" * 10**6}, file="f.json", row=0)) < 250


def turn(value: str, i: int = 0) -> dict[str, Any]:
    return changed("conversations", i, "value", to=value)


BAD: list[tuple[Any, str, str]] = [
    ("{", "row", "not a JSON object"),
    (changed("video", to=None), "video", "missing or no text"),
    (changed("conversations", to=[]), "conversations", "human-gpt pairs"),
    (changed("conversations", to=ROW["conversations"][:3]), "conversations", "human-gpt pairs"),
    (changed("conversations", 0, "from", to="gpt"), "conversations[0].from", "not from 'human'"),
    (turn("  "), "conversations[0].value", "empty"),
    (turn("<video>\n"), "conversations[0].value", "empty"),
    (turn("The <ins>dog"), "conversations[0].value", "never closed at character 4"),
    (turn("Describe <region>."), "conversations[0].value", "placeholder <region> beside <ins> tags"),
    (turn("See <object0>.", 1), "conversations[1].value", "placeholder <object0> beside <ins> tags"),
    (turn("The < Region1 >."), "conversations[0].value", "'< Region1 >' is no placeholder"),
    (turn("The <ins>dog</ins>\n<video>\nWhat?"), "conversations[0].value", "<video> inside"),
    (turn("<video>\nThe <ins>dog</ins>\n<video>"), "conversations[0].value", "<video> inside"),
    (turn("<video>\nThe dog.", 1), "conversations[1].value", "<video> inside"),
    (turn("<ins>a</ins> \ud800"), "conversations[0].value", "surrogate"),
    (turn("x" * (2**20 + 1)), "conversations[0].value", "1048577 characters"),
    (changed("video", to="v\udc00"), "video", "surrogate"),
    (changed("video", to="v" * 5000), "video", "5000 characters"),
    (changed("index", to=[[]]), "index", "missing or no text"),
    (changed("type", to=10**5000), "type", "missing or no text"),
    (turn("The dog"), "annotation", "2 <ins> tags, 3 annotation entries"),
    (changed("annotation", to=[]), "annotation", "3 <ins> tags, 0 annotation entries"),
    (changed("annotation", to={}), "annotation", "not a list"),
    (changed("annotation", 1, to=[]), "annotation[1]", "not an object"),
    (changed("annotation", 1, to={}), "annotation[1]", "no frame is annotated"),
    (changed("annotation", 1, to={"3": {"segmentation": None}}), "annotation[1]", "no frame is annotated"),
    (
        changed("annotation", 1, to={"3": {"segmentation": {"size": [2, 3], "counts": [6]}}}),
        "annotation[1]",
        "every mask is empty",
    ),
    (changed("annotation", 1, to={"-3": {"segmentation": MASK}}), "annotation[1]['-3']", "not a frame index"),
    (changed("annotation", 1, to={"3": {}}), "annotation[1]", "no frame is annotated"),
    (changed("annotation", 1, to={"3": MASK}), "annotation[1]['3']", "no segmentation"),
    (changed("annotation", 1, to={"3": {"3": {"segmentation": MASK}}}), "annotation[1]['3']", "no segmentation"),
    (
        changed("annotation", 1, to={"3": {"segmentation": [[0, 0, 1, 0, 1, 1]], "size": [2, 3], "height": 3}}),
        "annotation[1]['3'].size",
        "not the frame's height",
    ),
    (
        changed("annotation", 1, to={"3": {"segmentation": MASK, "size": [2, []], "height": 2, "width": []}}),
        "annotation[1]['3'].size",
        "not the frame's height",
    ),
    (
        changed("annotation", 1, to={"3": {"segmentation": [[0, 0, 1, 0, 1, 1]], "size": 4}}),
        "annotation[1]['3'].size",
        "not [height, width]",
    ),
    (
        changed("annotation", 1, to={"3": {"segmentation": MASK}, "03": {"segmentation": MASK}}),
        "annotation[1]['03']",
        "the same frame twice",
    ),
    (
        changed("annotation", 1, to={"3": {"segmentation": {"size": [2, 2], "counts": [3, 2]}}}),
        "annotation[1]['3'].segmentation",
        "add up to 5",
    ),
    (changed("conversations", 1, "slots", to="text"), "conversations[1].slots", "not a list"),
    (changed("conversations", 1, "slots", to=0), "conversations[1].slots", "not a list"),
    (changed("conversations", 1, "slots", to=[{"name": "a"}]), "conversations[1].slots[0]", "incomplete"),
    (
        changed("conversations", 1, "slots", to=[{"name": "\ud800", "start": 0, "end": 1}]),
        "conversations[1].slots[0].name",
        "surrogate",
    ),
    (
        changed("conversations", 1, "slots", to=[{"name": "a", "start": 0, "end": 10**5000}]),
        "conversations[1].slots[0]",
        "outside the answer",
    ),
    (
        changed("conversations", 1, "slots", to=[{"name": "a", "start": 8, "end": 14}]),
        "conversations[1].slots[0]",
        "outside the answer",
    ),
]


@pytest.mark.parametrize(("row", "field", "reason"), BAD)
def test_bad_rows_say_where_and_why(row: Any, field: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_row(row, file="a/b.json", row=4)
    error = caught.value
    assert (error.file, error.row, error.field) == ("a/b.json", 4, field)
    assert reason in error.reason
    assert error.hint
    assert error.key.startswith("b:00000004:")


def test_an_error_quotes_little_of_the_row() -> None:
    long = "x" * 10**6
    for row in (turn(f"<ins {long}>"), turn(f"<object{'0' * 10**6}>"), changed("annotation", 0, to={long: None})):
        with pytest.raises(DataError) as caught:
            parse_row(row, file="f.json", row=0)
        assert len(str(caught.value)) < 300 + len(example_row("nl-refer"))


def test_a_row_of_too_many_masks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rle, polygon = {"segmentation": MASK}, {"segmentation": [[0, 0, 2, 0, 2, 2]]}
    row = changed("annotation", 0, to={str(i): frame for i, frame in enumerate([rle, rle, polygon, polygon])})
    row |= {"height": 4, "width": 5}
    monkeypatch.setattr(tracks, "MAX_ROW_OUTLINE_PX", 11)
    with pytest.raises(DataError, match="too many masks") as caught:
        parse_row(row, file="f.json", row=0)
    assert caught.value.field == "annotation[0]['3'].segmentation"
    monkeypatch.setattr(tracks, "MAX_ROW_OUTLINE_PX", 12)
    parse_row(row, file="f.json", row=0)
    monkeypatch.setattr(tracks, "MAX_ROW_COUNTS", 6)
    with pytest.raises(DataError, match="too many masks") as caught:
        parse_row(row, file="f.json", row=0)
    assert caught.value.field == "annotation[0]['2'].segmentation"


def test_json_and_jsonl_give_the_same_rows(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"id": "zweite Zeile ü"}]
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8-sig")
    (tmp_path / "b.jsonl").write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
    assert list(read_rows(tmp_path / "a.json")) == list(read_rows(tmp_path / "b.jsonl")) == list(enumerate(rows))


def test_a_broken_line_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        json.dumps(ROW).encode() + b'\n{"id": "cut\n\xff\xfe\n' + json.dumps(ROW).encode()
    )
    read = list(read_rows(tmp_path / "a.jsonl"))
    assert [row for row, _ in read] == [0, 1, 2, 3]
    assert read[3][1] == ROW
    for row, reason in ((1, "not a JSON object"), (2, "not valid utf-8")):
        raw = read[row][1]
        with pytest.raises(DataError, match=reason):
            parse_row(raw, file="a.jsonl", row=row)


@pytest.mark.parametrize("content", [b"{}", b"[{]", b"\xff", b"[" * 200_000])
def test_unreadable_files_are_refused_whole(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json"):
        list(read_rows(tmp_path / "a.json"))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_rows(tmp_path / "missing.json"))
