"""Rows of trainers that list their media: one video in `videos`, and the chat in `conversations` or `messages`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swim.data.annotations.fields import MarkedText, RowContent, has_field, read_supervision, read_turns, read_video
from swim.data.chat import SYSTEM
from swim.data.limits import abbreviate
from swim.data.types import DataError, Turn

_ROLES = {"user": "human", "assistant": "gpt"}


def read_chat_row(raw: dict[str, Any], turns: tuple[Turn, ...], texts: tuple[MarkedText, ...]) -> RowContent:
    """The content of a row whose one video is in `videos`. Tags have their masks in `annotation`, as in NL-Refer."""
    refuse_other_media(raw)
    video = listed_video(raw)
    tracks, marks = read_supervision(raw, texts)
    return RowContent(video, turns, tracks, marks)


def listed_video(raw: dict[str, Any]) -> str:
    """The path of the one video in `videos`."""
    videos = raw.get("videos")
    if has_field(raw, "video"):
        raise DataError("beside `videos`", field="video", hint="a row names its video once: keep `videos`")
    if not isinstance(videos, list) or len(videos) != 1:
        reason = f"{len(videos)} videos" if isinstance(videos, list) else "missing or no list"
        raise DataError(reason, field="videos", hint="list the path of one video, relative to the videos folder")
    try:
        return read_video({"video": videos[0]})
    except DataError as error:
        raise DataError(error.reason, field="videos[0]", hint=error.hint) from error


def listed_names(raw: dict[str, Any]) -> Iterable[str]:
    """The videos that a row lists, whether it is otherwise right or not."""
    videos = raw.get("videos")
    return [video for video in videos if isinstance(video, str)] if isinstance(videos, list) else []


def read_conversations(raw: dict[str, Any]) -> tuple[tuple[Turn, ...], tuple[MarkedText, ...]]:
    """Turns and texts of `conversations`, whose first entry may be from "system", and of a field `system`."""
    check_system(raw.get("system"), "system")
    entries = raw["conversations"]
    if isinstance(entries, list) and entries and isinstance(entries[0], dict) and entries[0].get("from") == "system":
        check_system(entries[0].get("value"), "conversations[0].value")
        return _read(entries[1:], "conversations", 1, "value")
    return read_turns(entries)


def read_messages(raw: dict[str, Any]) -> tuple[tuple[Turn, ...], tuple[MarkedText, ...]]:
    """Turns and texts of `messages`: [{"role": "user" | "assistant", "content": text}, …], after an optional one of
    "system"."""
    check_system(raw.get("system"), "system")
    messages = raw["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        hint = "give [{'role': 'user', 'content': …}, {'role': 'assistant', 'content': …}]"
        raise DataError("not a list of objects", field="messages", hint=hint)
    skipped = 0
    if messages and messages[0].get("role") == "system":
        check_system(messages[0].get("content"), "messages[0].content")
        skipped = 1
    entries: list[Any] = []
    for i, message in enumerate(messages[skipped:]):
        role = message.get("role")
        if role != tuple(_ROLES)[i % 2]:
            hint = "user and assistant must take turns; calls of tools are not trained on"
            raise DataError(f"not from {tuple(_ROLES)[i % 2]!r}", field=f"messages[{i + skipped}].role", hint=hint)
        entries.append({"from": _ROLES[role], "value": message.get("content")})
    return _read(entries, "messages", skipped, "content")


def check_system(prompt: Any, field: str) -> None:
    """Raises DataError for a system prompt of the row's own, which training would not show to the model."""
    if prompt in (None, "", SYSTEM):
        return
    hint = "training has one system prompt for all rows: remove it, or begin the first question with it"
    raise DataError(f"a system prompt {abbreviate(prompt)}", field=field, hint=hint)


def refuse_other_media(raw: dict[str, Any]) -> None:
    """Raises DataError for a row that has more than a video and its text."""
    for field in ("images", "audios", "tools"):
        if raw.get(field) not in (None, [], {}, ""):
            hint = "one video and its text are trained on: take it out of the row"
            raise DataError("cannot be used", field=field, hint=hint)


def _read(
    entries: list[Any], field: str, skipped: int, content: str
) -> tuple[tuple[Turn, ...], tuple[MarkedText, ...]]:
    """As `read_turns`; errors name the entry of the row's own list."""
    try:
        return read_turns(entries)
    except DataError as error:
        place = error.field
        for i in range(len(entries)):
            prefix = f"conversations[{i}]"
            if place.startswith(prefix):
                place = f"{field}[{i + skipped}]{place.removeprefix(prefix).replace('.value', f'.{content}')}"
                break
        hint = error.hint if "[" in place else "give a question and its answer, in turn"
        raise DataError(error.reason, field=place.replace("conversations", field, 1), hint=hint) from error
