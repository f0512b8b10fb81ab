"""NL-Refer: conversations whose referring nouns are tagged, and the masks of each.

Rows whose `index` names the question-answer part ("qa") train on their text alone even if they have tags, as in the
paper; so do rows with neither tags nor `annotation`.
"""

from __future__ import annotations

from typing import Any

from swim.data.annotations.fields import (
    RowContent,
    RowFormat,
    has_field,
    has_placeholder,
    names_its_video,
    read_label,
    read_supervision,
    read_turns,
    read_video,
)

_CAPTIONS = ("videorefer_detailed_caption", "videorefer_short_caption")


def matches(raw: dict[str, Any]) -> bool:
    if not has_field(raw, "conversations") or has_field(raw, "caption") or has_field(raw, "Question"):
        return False
    if not names_its_video(raw):
        return False
    unannotated = raw.get("annotation") in (None, [])
    return not (has_field(raw, "data_source") and unannotated) and not has_placeholder(raw)


def parse(raw: dict[str, Any]) -> RowContent:
    turns, texts = read_turns(raw["conversations"])
    tracks, marks = ((), "none") if _text_only(read_label(raw, "index")) else read_supervision(raw, texts)
    return RowContent(read_video(raw), turns, tracks, marks, question_type=read_label(raw, "type"))


def _text_only(index: str) -> bool:
    # The index may end in the clip's name, which may contain "qa": the names of the other parts are tested first.
    return "qa" in index and not any(name in index for name in _CAPTIONS)


FORMAT = RowFormat(
    decides="`conversations` without <region>, and no `caption` or `Question`",
    fields=("video", "conversations", "annotation", "index"),
    matches=matches,
    parse=parse,
    example={
        "video": "dog.mp4",
        "conversations": [
            {"from": "human", "value": "<video>\nWhat does the <ins>dog</ins> do?"},
            {"from": "gpt", "value": "It runs."},
        ],
        "annotation": [{"0": {"segmentation": {"size": [4, 6], "counts": [8, 4, 12]}}}],
    },
)
