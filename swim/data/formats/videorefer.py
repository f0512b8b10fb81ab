"""VideoRefer-700K: detailed and short captions and question-answer rows, objects as `<region>` placeholders.

A question about several objects introduces each as `<object0><region>` and may name it again as `<object0>`, in answers
and later turns too. The text is kept as written: `experiments/build_nl_refer.py` rewrites it.
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


def matches(raw: dict[str, Any]) -> bool:
    other = has_field(raw, "caption") or has_field(raw, "Question") or not names_its_video(raw)
    return not other and has_placeholder(raw)


def parse(raw: dict[str, Any]) -> RowContent:
    turns, texts = read_turns(raw["conversations"])
    tracks, marks = read_supervision(raw, texts)
    return RowContent(read_video(raw), turns, tracks, marks, question_type=read_label(raw, "type"))


FORMAT = RowFormat(
    decides="`conversations` with <region>, and no `caption` or `Question`",
    fields=("video", "conversations", "annotation"),
    matches=matches,
    parse=parse,
    example={
        "video": "dog.mp4",
        "conversations": [
            {"from": "human", "value": "<video>\nWhat does <region> do?"},
            {"from": "gpt", "value": "It runs."},
        ],
        "annotation": [{"0": {"segmentation": {"size": [4, 6], "counts": [8, 4, 12]}}}],
    },
)
