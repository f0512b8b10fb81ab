"""ms-swift: `messages` of user and assistant about the one video in `videos`.

`<ref-object>` in the texts stands for the names in `objects.ref`, in reading order. With an `annotation` (masks as in
NL-Refer, one entry a name) they are referring nouns, without one plain words. Boxes name no frame of a video and are no
masks: a row that writes `<bbox>`, or has boxes and no masks, is refused.
"""

from __future__ import annotations

import re
from typing import Any

from swim.data.annotations.chat_rows import listed_names, read_chat_row, read_messages
from swim.data.annotations.fields import RowContent, RowFormat, has_field
from swim.data.types import DataError

_REFERENCE = re.compile(r"<ref-object>")


def matches(raw: dict[str, Any]) -> bool:
    other = has_field(raw, "caption") or has_field(raw, "Question") or has_field(raw, "conversations")
    return has_field(raw, "messages") and not other and not _is_from_hugging_face(raw)


def parse(raw: dict[str, Any]) -> RowContent:
    return read_chat_row(raw, *read_messages(raw | {"messages": _with_names(raw)}))


def _is_from_hugging_face(raw: dict[str, Any]) -> bool:
    listed = has_field(raw, "videos")
    return not listed and (isinstance(raw.get("video"), dict) or has_field(raw, "file_name"))


def _with_names(raw: dict[str, Any]) -> Any:
    """The messages with the names of `objects` in their places."""
    messages = raw["messages"]
    if not isinstance(messages, list):
        return messages  # refused by `read_messages`
    texts = [m.get("content") for m in messages if isinstance(m, dict)]
    written = "\n".join(text for text in texts if isinstance(text, str))
    names = _names(raw, "<bbox>" in written)
    if (places := len(_REFERENCE.findall(written))) != len(names):
        hint = "write <ref-object> once for each name, in the order of objects.ref"
        raise DataError(f"{places} <ref-object>, {len(names)} names", field="objects.ref", hint=hint)
    if not names:
        return messages
    form = "<ins>{}</ins>" if has_field(raw, "annotation") else "{}"
    following = iter(names)

    def named(message: Any) -> Any:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return message
        text = _REFERENCE.sub(lambda _: form.format(next(following)), message["content"])
        return message | {"content": text}

    return [named(message) for message in messages]


def _names(raw: dict[str, Any], boxes_written: bool) -> list[str]:
    objects = raw.get("objects")
    if objects is None:
        objects = {}
    if not isinstance(objects, dict):
        raise DataError("not an object", field="objects", hint="give {'ref': ['dog', …]}")
    if boxes_written or (objects.get("bbox") and not has_field(raw, "annotation")):
        hint = "a box has no frame of a video: give masks in `annotation`, and take boxes and <bbox> out"
        raise DataError("boxes", field="objects.bbox", hint=hint)
    names = objects.get("ref")
    if names is None:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError("not a list of names", field="objects.ref", hint="give the noun of each <ref-object>")
    return names


FORMAT = RowFormat(
    decides="`messages`",
    fields=("messages", "videos", "objects"),
    matches=matches,
    parse=parse,
    example={
        "messages": [
            {"role": "user", "content": "<video>What does the <ref-object> do?"},
            {"role": "assistant", "content": "It runs."},
        ],
        "videos": ["dog.mp4"],
        "objects": {"ref": ["dog"]},
        "annotation": [{"0": {"segmentation": {"size": [4, 6], "counts": [8, 4, 12]}}}],
    },
    videos=listed_names,
)
