"""VideoRefer-700K: detailed and short captions and question-answer rows, objects as `<region>` placeholders.

A question about several objects introduces each as `<object0><region>` and may name it again as `<object0>`, in answers
and later turns too. The text is kept as it stands: `experiments/build_nl_refer.py` rewrites it.
"""

from __future__ import annotations

from typing import Any

from swim.data.parse import (
    Content,
    RowFormat,
    has,
    has_placeholder,
    read_label,
    read_turns,
    read_video,
    supervised,
)


def matches(raw: dict[str, Any]) -> bool:
    return not has(raw, "caption") and not has(raw, "Question") and has_placeholder(raw)


def parse(raw: dict[str, Any]) -> Content:
    turns, texts = read_turns(raw["conversations"])
    tracks, marks = supervised(raw, texts)
    return Content(read_video(raw), turns, tracks, marks, question_type=read_label(raw, "type"))


FORMAT = RowFormat(
    decides="`conversations` with <region>, and no `caption` or `Question`",
    fields=("video", "conversations", "annotation"),
    matches=matches,
    parse=parse,
)
