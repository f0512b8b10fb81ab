"""VideoRefer-Bench-D: one object of a video, the masks of 32 of its frames, and the caption to be generated.

The original asks nothing: its question is `QUESTION`. NL-Refer's version, and the synonyms of it, ask in one turn of
`conversations`; its answer may be left out, and else must be the caption, because one text is the reference.
"""

from __future__ import annotations

from typing import Any

from swim.data.parse import (
    Content,
    RowFormat,
    Said,
    has,
    read_entry,
    read_turns,
    read_video,
    said,
    supervised,
)
from swim.data.types import DataError, Turn

QUESTION = "Describe <region> in the video in detail."


def matches(raw: dict[str, Any]) -> bool:
    return has(raw, "caption") and not has(raw, "Question")


def parse(raw: dict[str, Any]) -> Content:
    caption = said(raw["caption"], field="caption")
    turn, texts = _turn(raw.get("conversations"), caption)
    tracks, marks = supervised(raw, texts)
    if len(tracks) != 1:
        hint = "a description is of one object: mark it once and give its masks"
        raise DataError(f"masks of {len(tracks)} objects", field="annotation", hint=hint)
    return Content(read_video(raw), (turn,), tracks, marks)


def _turn(conversations: Any, caption: Said) -> tuple[Turn, tuple[Said, ...]]:
    if conversations is None:
        return Turn(human=QUESTION, gpt=caption.value), (said(QUESTION, field="conversations"), caption)
    if isinstance(conversations, list) and len(conversations) == 1:
        question = read_entry(conversations[0], 0)
        return Turn(human=question.value, gpt=caption.value), (question, caption)
    turns, texts = read_turns(conversations)
    if len(turns) != 1:
        hint = "keep the turn whose answer is the caption"
        raise DataError(f"{len(turns)} turns and one caption", field="conversations", hint=hint)
    if texts[1].plain.strip() != caption.plain.strip():
        hint = "one text is the reference: correct it, or leave the answer out"
        raise DataError("the answer is not the caption", field="conversations[1].value", hint=hint)
    return turns[0], texts


FORMAT = RowFormat(
    decides="`caption`, and no `Question`",
    fields=("video", "caption", "annotation", "frame_idx"),
    matches=matches,
    parse=parse,
)
