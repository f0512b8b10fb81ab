"""Annotation rows (NL-Refer, LLaVA-Video) → ReferSample. A row is used exactly as written, or refused with a reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from swim.data import masks
from swim.data.markup import MarkupError, strip_tags
from swim.data.types import DataError, ReferSample, Rle, Slot, Turn

_LEADING_VIDEO = re.compile(r"\A<(?:video|image)>\n?")
_MEDIA = re.compile(r"<(?:video|image)>")
_PLACEHOLDER = re.compile(r"<(?:region|object\d+)>")
_FRAME = re.compile(r"[0-9]{1,9}")


def sample_key(raw: Any, *, file: str, row: int) -> str:
    """`stem:row:id`: unique over files of different names, and readable. Always valid UTF-8."""
    name = raw.get("id", "?") if isinstance(raw, dict) else "?"
    return f"{Path(file).stem}:{row}:{name}".encode("utf-8", "backslashreplace").decode()


def locate(error: DataError, *, file: str, row: int, key: str) -> DataError:
    """The same error, saying where the row is."""
    return DataError(error.reason, field=error.field, hint=error.hint, file=file, row=row, key=key)


def parse_row(raw: Any, *, file: str, row: int) -> ReferSample:
    """One row as a sample. Rows whose `index` says "qa", and rows with neither tags nor `annotation`, train on their
    text alone (no tracks).

    Raises DataError naming file, row, field and what to do.
    """
    key = sample_key(raw, file=file, row=row)
    try:
        if not isinstance(raw, dict):
            raise DataError("not a JSON object", field="row", hint="each row must be {…}; is the line cut off?")
        turns, tags = _turns(raw.get("conversations"))
        return ReferSample(
            key=key,
            file=file,
            row=row,
            video=_video(raw),
            turns=turns,
            tracks=_tracks(raw, tags) if _masked(raw, tags) else (),
        )
    except DataError as error:
        raise locate(error, file=file, row=row, key=key) from error


def _masked(raw: dict[str, Any], tags: int) -> bool:
    if "qa" in str(raw.get("index", "")):
        return False
    if tags and raw.get("annotation") is None:
        hint = 'give one entry per tag, or "qa" in the row\'s `index` to train on its text alone'
        raise DataError(f"{tags} <ins> tags and no masks", field="annotation", hint=hint)
    return raw.get("annotation") is not None


def _video(raw: dict[str, Any]) -> str:
    video = raw.get("video")
    if not isinstance(video, str) or not video:
        raise DataError("missing or no text", field="video", hint="give the path relative to the videos folder")
    return video


def _turns(conversations: Any) -> tuple[tuple[Turn, ...], int]:
    """The human-gpt pairs and the number of tags in them."""
    field = "conversations"
    if not isinstance(conversations, list) or not conversations or len(conversations) % 2:
        raise DataError(
            "not a list of human-gpt pairs", field=field, hint="give [{'from': 'human', …}, {'from': 'gpt', …}]"
        )
    texts: list[str] = []
    plain: list[str] = []
    tags = 0
    for i, entry in enumerate(conversations):
        role = ("human", "gpt")[i % 2]
        if not isinstance(entry, dict) or entry.get("from") != role:
            raise DataError(f"not said by {role!r}", field=f"{field}[{i}].from", hint="human and gpt must take turns")
        text = _text(entry.get("value"), human=role == "human", field=f"{field}[{i}].value")
        try:
            stripped, spans = strip_tags(text)
        except MarkupError as error:
            raise DataError(str(error), field=f"{field}[{i}].value", hint="tag each noun as <ins>noun</ins>") from error
        texts.append(text)
        plain.append(stripped)
        tags += len(spans)
    turns = tuple(
        Turn(
            human=texts[i],
            gpt=texts[i + 1],
            slots=_slots(conversations[i + 1], plain[i + 1], f"{field}[{i + 1}].slots"),
        )
        for i in range(0, len(texts), 2)
    )
    return turns, tags


def _text(said: Any, *, human: bool, field: str) -> str:
    if not isinstance(said, str):
        raise DataError("missing or no text", field=field, hint="give a string")
    value: str = _LEADING_VIDEO.sub("", said) if human else said
    if found := _PLACEHOLDER.search(value):
        hint = "a VideoRefer row: put a referring expression in its place, with its noun in <ins>…</ins>"
        raise DataError(f"placeholder {found.group()} still in the text", field=field, hint=hint)
    if found := _MEDIA.search(value):
        raise DataError(
            f"{found.group()} inside the text", field=field, hint="one video a row, named once, at the start"
        )
    if not value.strip():
        raise DataError("empty", field=field, hint="a turn without text cannot be trained on: remove it")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError("half a surrogate pair", field=field, hint="the text is no valid Unicode: write the row again")
    return value


def _slots(entry: dict[str, Any], answer: str, field: str) -> tuple[Slot, ...]:
    raw = entry.get("slots") or []
    if not isinstance(raw, list):
        raise DataError("not a list", field=field, hint="give [{'name', 'start', 'end'}, …]")
    slots: list[Slot] = []
    for i, slot in enumerate(raw):
        name, start, end = (slot.get(k) for k in ("name", "start", "end")) if isinstance(slot, dict) else (None,) * 3
        if not (isinstance(name, str) and name and type(start) is int and type(end) is int):
            raise DataError("incomplete", field=f"{field}[{i}]", hint="give a name and whole numbers start and end")
        if not 0 <= start < end <= len(answer):
            hint = f"start and end count characters of the answer without its tags ({len(answer)})"
            raise DataError(f"[{start}, {end}) is outside the answer", field=f"{field}[{i}]", hint=hint)
        slots.append(Slot(name=name, start=start, end=end))
    return tuple(slots)


def _tracks(raw: dict[str, Any], tags: int) -> tuple[dict[int, Rle], ...]:
    annotation = raw["annotation"]
    if not isinstance(annotation, list):
        raise DataError("not a list", field="annotation", hint="give one entry per object, in the order of the tags")
    if len(annotation) != tags:
        hint = "each <ins> of the conversation belongs to one annotation entry, in reading order"
        raise DataError(f"{tags} <ins> tags, {len(annotation)} annotation entries", field="annotation", hint=hint)
    return tuple(_track(entry, f"annotation[{i}]", raw) for i, entry in enumerate(annotation))


def _track(entry: Any, field: str, raw: dict[str, Any]) -> dict[int, Rle]:
    """Frame → mask. A null segmentation means "not annotated here"; an empty mask means "not visible here"."""
    if not isinstance(entry, dict):
        raise DataError("not an object", field=field, hint="give {frame index: {'segmentation': …}}")
    track: dict[int, Rle] = {}
    seen: set[int] = set()
    for frame, value in entry.items():
        where = f"{field}[{frame!r:.40}]"
        if not _FRAME.fullmatch(frame):
            raise DataError("not a frame index", field=where, hint="keys count shown frames from 0")
        if int(frame) in seen:
            raise DataError("the same frame twice", field=where, hint="keep one mask per object and frame")
        seen.add(int(frame))
        if not isinstance(value, dict) or "segmentation" not in value:
            raise DataError("no segmentation", field=where, hint="give {'segmentation': RLE, polygons or null}")
        if value["segmentation"] is None:
            continue
        try:
            track[int(frame)] = masks.to_rle(value["segmentation"], raw.get("height"), raw.get("width"))
        except DataError as error:
            raise DataError(error.reason, field=f"{where}.{error.field}", hint=error.hint) from error
    if not track:
        raise DataError("no frame is annotated", field=field, hint="an object needs one mask: remove it and its tag")
    if not any(masks.area(rle) for rle in track.values()):
        raise DataError(
            "every mask is empty", field=field, hint="an object must be visible once: remove it and its tag"
        )
    return track
