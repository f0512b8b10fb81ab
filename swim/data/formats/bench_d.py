"""VideoRefer-Bench-D: one object of a video, the masks of 32 of its frames, and the caption to be generated.

The original has no question: `QUESTION` is used. NL-Refer's version and its synonym variant have the question in one
turn of `conversations`. The reference is the caption, whatever the answer of that turn is: one stray space would cost a
row. A scorer counts the rows where the two differ.
"""

from __future__ import annotations

from typing import Any

from swim.data.annotations.fields import (
    MarkedText,
    RowContent,
    RowFormat,
    has_field,
    names_its_video,
    read_message,
    read_supervision,
    read_text,
    read_turns,
    read_video,
)
from swim.data.types import DataError, Turn

QUESTION = "Describe <region> in the video in detail."


def matches(raw: dict[str, Any]) -> bool:
    return has_field(raw, "caption") and not has_field(raw, "Question") and names_its_video(raw)


def parse(raw: dict[str, Any]) -> RowContent:
    caption = read_text(raw["caption"], field="caption")
    turn, texts, differs = _turn(raw.get("conversations"), caption)
    tracks, marks = read_supervision(raw, texts)
    if len(tracks) != 1:
        hint = "a description is of one object: mark it once and give its masks"
        raise DataError(f"masks of {len(tracks)} objects", field="annotation", hint=hint)
    return RowContent(read_video(raw), (turn,), tracks, marks, reference_differs=differs)


def _turn(conversations: Any, caption: MarkedText) -> tuple[Turn, tuple[MarkedText, ...], bool]:
    """The question with the caption as its answer, both texts, and whether the row has another answer as well."""
    if conversations is None:
        return Turn(human=QUESTION, gpt=caption.value), (read_text(QUESTION, field="conversations"), caption), False
    if isinstance(conversations, list) and len(conversations) == 1:
        question = read_message(conversations[0], 0)
        return Turn(human=question.value, gpt=caption.value), (question, caption), False
    turns, texts = read_turns(conversations)
    if len(turns) != 1:
        hint = "keep the turn whose answer is the caption"
        raise DataError(f"{len(turns)} turns and one caption", field="conversations", hint=hint)
    if texts[1].plain.strip() == caption.plain.strip():
        return turns[0], texts, False
    return turns[0].model_copy(update={"gpt": caption.value, "slots": ()}), (texts[0], caption), True


FORMAT = RowFormat(
    decides="`caption`, and no `Question`",
    fields=("video", "caption", "annotation", "frame_idx"),
    matches=matches,
    parse=parse,
    example={
        "video": "dog.mp4",
        "caption": "A dog that runs.",
        "annotation": [{"0": {"segmentation": {"size": [4, 6], "counts": [8, 4, 12]}}}],
    },
)
