"""ms-swift: messages, and the names of objects in them."""

from pathlib import Path
from typing import Any

import pytest
from format_kit import NAMES, columns, dump, one, refused, track, trained, write_videos

from swim.recipe import Recipe

KIND = "ms-swift"


def row(name: str, question: str = "<video>What does the <ref-object> do?", **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "It moves."}]
    return {
        "messages": messages,
        "videos": [f"{name}.mp4"],
        "objects": {"ref": [name]},
        "annotation": [track(16)],
    } | more


def test_three_rows_train(tmp_path: Path, nano: Recipe) -> None:
    file = dump(tmp_path / "rows.json", [row(name) for name in NAMES])
    read, clips, _ = trained(file, write_videos(tmp_path / "videos"), KIND, nano)
    assert [sample.turns[0].human for sample in read] == [f"What does the <ins>{name}</ins> do?" for name in NAMES]
    assert columns(read[0], 0, 2) == list(range(32, 64))
    assert [len(clip.masks) for clip in clips] == [1, 1, 1]


def test_names_are_words_where_nothing_has_masks() -> None:
    sample = one(row("dog", annotation=None), KIND)
    assert (sample.turns[0].human, sample.tracks) == ("What does the dog do?", ())


def test_names_take_their_places_in_order() -> None:
    two = row("dog", "<video>Does the <ref-object> see a <ref-object>?", objects={"ref": ["dog", "cat"]})
    sample = one(two | {"annotation": [track(0), track(64)]}, KIND)
    assert sample.turns[0].human == "Does the <ins>dog</ins> see a <ins>cat</ins>?"
    assert (columns(sample, 0, 0)[0], columns(sample, 1, 0)[0]) == (0, 64)


MESSAGES = row("dog")["messages"]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"videos": None}, "videos", "missing or no list"),
        ({"objects": {"ref": ["dog", "cat"]}}, "objects.ref", "1 <ref-object>, 2 names"),
        ({"objects": None}, "objects.ref", "1 <ref-object>, 0 names"),
        ({"objects": {"ref": "dog"}}, "objects.ref", "not a list of names"),
        ({"objects": {"ref": ["dog"], "bbox": [[0, 0, 9, 9]]}, "annotation": None}, "objects.bbox", "boxes"),
        ({"messages": [MESSAGES[0], MESSAGES[1] | {"content": "At <bbox>."}]}, "objects.bbox", "boxes"),
        ({"annotation": [track(0), track(0)]}, "annotation", "1 <ins> tags, 2 annotation entries"),
        ({"messages": [MESSAGES[1], MESSAGES[0]]}, "messages[0].role", "not from 'user'"),
        ({"messages": [MESSAGES[0], MESSAGES[1] | {"content": ""}]}, "messages[1].content", "missing or no text"),
        ({"messages": [{"role": "system", "content": "Rhyme."}, *MESSAGES]}, "messages[0].content", "a system prompt"),
        ({"messages": MESSAGES[:1]}, "messages", "not a list of human-gpt pairs"),
        ({"messages": "dog"}, "messages", "not a list of objects"),
        ({"tools": "[]"}, "tools", "cannot be used"),
    ],
)
def test_a_wrong_row_is_refused_with_the_right_one(change: dict[str, Any], field: str, reason: str) -> None:
    with refused(KIND, field, reason):
        one(row("dog") | change, KIND)
