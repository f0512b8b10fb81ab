"""LLaVA-Video-178K: conversations about the whole video, from the `data_source` they name. Text only."""

from __future__ import annotations

from typing import Any

from swim.data.parse import Content, RowFormat, has, has_placeholder, read_turns, read_video, supervised


def matches(raw: dict[str, Any]) -> bool:
    if not has(raw, "conversations") or has(raw, "caption") or has(raw, "Question"):
        return False
    unannotated = raw.get("annotation") in (None, [])
    return has(raw, "data_source") and unannotated and not has_placeholder(raw)


def parse(raw: dict[str, Any]) -> Content:
    turns, texts = read_turns(raw["conversations"])
    supervised(raw, texts)  # refuses tags: they would have no masks
    return Content(read_video(raw), turns)


FORMAT = RowFormat(
    decides="`data_source` and `conversations`, and no `annotation`",
    fields=("video", "conversations", "data_source"),
    matches=matches,
    parse=parse,
)
