"""LLaVA-Video-178K: conversations about the whole video, which name their `data_source`. Text only."""

from __future__ import annotations

from typing import Any

from swim.data.annotations.fields import (
    RowContent,
    RowFormat,
    has_field,
    has_placeholder,
    names_its_video,
    read_supervision,
    read_turns,
    read_video,
)


def matches(raw: dict[str, Any]) -> bool:
    if not has_field(raw, "conversations") or has_field(raw, "caption") or has_field(raw, "Question"):
        return False
    if not names_its_video(raw):
        return False
    unannotated = raw.get("annotation") in (None, [])
    return has_field(raw, "data_source") and unannotated and not has_placeholder(raw)


def parse(raw: dict[str, Any]) -> RowContent:
    turns, texts = read_turns(raw["conversations"])
    read_supervision(raw, texts)  # rejects tags: they would have no masks
    return RowContent(read_video(raw), turns)


FORMAT = RowFormat(
    decides="`data_source` and `conversations`, and no `annotation`",
    fields=("video", "conversations", "data_source"),
    matches=matches,
    parse=parse,
    example={
        "video": "dog.mp4",
        "conversations": [{"from": "human", "value": "<image>\nWho runs?"}, {"from": "gpt", "value": "A dog."}],
        "data_source": "0_30_s",
    },
)
