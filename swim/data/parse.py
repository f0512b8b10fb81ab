"""What the row formats share: texts with their marks, turns and slots, and the plain fields.

A mark stands for an object that has masks: an `<ins>noun</ins>` tag, or a `<region>` placeholder that nobody has
rewritten yet. Whatever JSON a row holds, these functions give what they document or raise DataError, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from swim.data.annotation import read_tracks
from swim.data.limits import MAX_LABEL_CHARS, MAX_PATH_CHARS, MAX_TEXT_CHARS, shown
from swim.data.markup import MarkupError, strip_tags
from swim.data.types import DataError, Rle, Slot, Turn

# VideoRefer names the video before the question or behind it; where it goes is the encoder's business.
_LEADING_VIDEO = re.compile(r"\A<(?:video|image)>\n?")
_TRAILING_VIDEO = re.compile(r"\n?<(?:video|image)>\n?\Z")
_MEDIA = re.compile(r"<(?:video|image)>")
# `<object1>` labels the region behind it; alone it is a mention of that one. Misspelt ones are found, and refused.
_PLACEHOLDER = re.compile(r"<\s*+(?:region\s*+[0-9]*+|object\s*+[0-9]++)\s*+>", re.IGNORECASE)
_SPELT = re.compile(r"<(?:region|object([0-9]{1,4}))>")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LABEL = re.compile(r"<object([0-9]{1,4})>\s*+<region>")


@dataclass(frozen=True)
class Content:
    """What a format reads from a row: the fields of ReferSample of the same names."""

    video: str
    turns: tuple[Turn, ...]
    tracks: tuple[dict[int, Rle], ...] = ()
    marks: Literal["ins", "region", "none"] = "none"
    question_type: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowFormat:
    """An entry of `swim.data.formats`. `decides` says in words what `matches` looks at; of a row that nobody claims,
    the format whose `fields` it has most of is named as the closest."""

    decides: str
    fields: tuple[str, ...]
    matches: Callable[[dict[str, Any]], bool]
    parse: Callable[[dict[str, Any]], Content]


@dataclass(frozen=True)
class Said:
    """One text: as written (without a leading or trailing `<video>`), and without its tags; `tags` and `regions` count
    its marks, `labels` are the objects it introduces, `mentions` those it names; `placeholder` is the first one."""

    value: str
    plain: str
    field: str
    tags: int
    regions: int
    labels: frozenset[str]
    mentions: frozenset[str]
    placeholder: str


def has(raw: dict[str, Any], field: str) -> bool:
    """Whether a row has a field. One that is null counts as missing: Parquet fills up rows of several kinds so."""
    return raw.get(field) is not None


def has_placeholder(raw: dict[str, Any]) -> bool:
    """Whether a `<region>` or `<object0>` stands in a row's conversations, however spelt."""
    return any(_PLACEHOLDER.search(text) for text in _texts(raw.get("conversations")))


def said(text: Any, *, field: str, human: bool = False) -> Said:
    """A question (`human`) or answer, checked. Raises DataError (that field)."""
    value = plain_text(text, field=field, hint="give a string", max_chars=MAX_TEXT_CHARS)
    if human:
        bare = _LEADING_VIDEO.sub("", value)
        value = bare if bare != value else _TRAILING_VIDEO.sub("", value)
    if found := _MEDIA.search(value):
        hint = "one video a row, named once, at the start or the end of the question"
        raise DataError(f"{found.group()} inside the text", field=field, hint=hint)
    if not value.strip():
        raise DataError("empty", field=field, hint="a turn without text cannot be trained on: remove it")
    try:
        plain, spans = strip_tags(value)
    except MarkupError as error:
        raise DataError(str(error), field=field, hint="tag each noun as <ins>noun</ins>") from error
    placeholders = [match.group() for match in _PLACEHOLDER.finditer(value)]
    for placeholder in placeholders:
        if not _SPELT.fullmatch(placeholder):
            hint = "write <region>, or <object0><region> to name it again as <object0>"
            raise DataError(f"{shown(placeholder)} is no placeholder", field=field, hint=hint)
    return Said(
        value=value,
        plain=plain,
        field=field,
        tags=len(spans),
        regions=placeholders.count("<region>"),
        labels=frozenset(_LABEL.findall(value)),
        mentions=frozenset(match[1] for match in map(_SPELT.fullmatch, placeholders) if match and match[1]),
        placeholder=placeholders[0] if placeholders else "",
    )


def read_turns(conversations: Any) -> tuple[tuple[Turn, ...], tuple[Said, ...]]:
    """The human-gpt pairs, and their texts in reading order."""
    field = "conversations"
    if not isinstance(conversations, list) or not conversations or len(conversations) % 2:
        raise DataError(
            "not a list of human-gpt pairs", field=field, hint="give [{'from': 'human', …}, {'from': 'gpt', …}]"
        )
    texts = tuple(read_entry(entry, i) for i, entry in enumerate(conversations))
    turns = tuple(
        Turn(
            human=texts[i].value,
            gpt=texts[i + 1].value,
            slots=_slots(conversations[i + 1].get("slots"), texts[i + 1].plain, f"{field}[{i + 1}].slots"),
        )
        for i in range(0, len(texts), 2)
    )
    return turns, texts


def read_entry(entry: Any, i: int) -> Said:
    """Entry `i` of the conversations: of a human where `i` is even, else of gpt."""
    role = ("human", "gpt")[i % 2]
    if not isinstance(entry, dict) or entry.get("from") != role:
        raise DataError(f"not said by {role!r}", field=f"conversations[{i}].from", hint="human and gpt must take turns")
    return said(entry.get("value"), human=role == "human", field=f"conversations[{i}].value")


def supervised(
    raw: dict[str, Any], texts: Sequence[Said]
) -> tuple[tuple[dict[int, Rle], ...], Literal["ins", "region", "none"]]:
    """The tracks of a row, one a mark of its texts in reading order, and what marks them; none for a row with neither
    marks nor `annotation`, which is text only. Raises DataError where marks and annotation do not fit each other."""
    tags, regions = sum(text.tags for text in texts), sum(text.regions for text in texts)
    if marked := next((text for text in texts if text.placeholder), None):
        if tags:
            hint = "half rewritten: put a referring expression in its place, with its noun in <ins>…</ins>"
            raise DataError(f"placeholder {marked.placeholder} beside <ins> tags", field=marked.field, hint=hint)
        labels = frozenset[str]().union(*(text.labels for text in texts))
        for text in texts:
            if unknown := sorted(text.mentions - labels):
                hint = "the row introduces an object once as <object0><region>, in the order of its annotation"
                raise DataError(f"<object{unknown[0]}> has no <region>", field=text.field, hint=hint)
    name, count = ("<region> placeholders", regions) if regions else ("<ins> tags", tags)
    if raw.get("annotation") is None:
        if count:
            hint = 'give one entry per mark; a row with "qa" in its `index` and tags trains on its text alone'
            raise DataError(f"{count} {name} and no masks", field="annotation", hint=hint)
        return (), "none"
    tracks = read_tracks(raw, count, name)
    return tracks, ("region" if regions else "ins") if count else "none"


def read_video(raw: dict[str, Any]) -> str:
    """The path of the video, as written."""
    hint = "give the path relative to the videos folder"
    return plain_text(raw.get("video"), field="video", hint=hint, max_chars=MAX_PATH_CHARS)


def read_label(raw: dict[str, Any], field: str) -> str:
    """A short optional text, "" when the row has none."""
    return plain_text(raw[field], field=field, hint="give a short text, or leave it out") if has(raw, field) else ""


def plain_text(value: Any, *, field: str, hint: str, max_chars: int = MAX_LABEL_CHARS) -> str:
    """A text that is not empty, not too long, and valid Unicode."""
    if not isinstance(value, str) or not value:
        raise DataError("missing or no text", field=field, hint=hint)
    if len(value) > max_chars:
        raise DataError(f"{len(value)} characters", field=field, hint=f"at most {max_chars} are read: shorten it")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError("half a surrogate pair", field=field, hint="the text is no valid Unicode: write the row again")
    return value


def _texts(conversations: Any) -> Iterator[str]:
    for entry in conversations if isinstance(conversations, list) else ():
        if isinstance(entry, dict) and isinstance(entry.get("value"), str):
            yield entry["value"]


def _slots(raw: Any, answer: str, field: str) -> tuple[Slot, ...]:
    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise DataError("not a list", field=field, hint="give [{'name', 'start', 'end'}, …]")
    slots: list[Slot] = []
    for i, slot in enumerate(raw):
        where = f"{field}[{i}]"
        name, start, end = (slot.get(k) for k in ("name", "start", "end")) if isinstance(slot, dict) else (None,) * 3
        if not (name and type(start) is int and type(end) is int):
            raise DataError("incomplete", field=where, hint="give a name and whole numbers start and end")
        if not 0 <= start < end <= len(answer):
            hint = f"start and end count characters of the answer without its tags ({len(answer)})"
            raise DataError(f"[{shown(start)}, {shown(end)}) is outside the answer", field=where, hint=hint)
        commonest = slot.get("commonest")
        if commonest is not None:
            commonest = plain_text(commonest, field=f"{where}.commonest", hint="give the value most objects share")
        name = plain_text(name, field=f"{where}.name", hint="give a name")
        slots.append(Slot(name=name, start=start, end=end, commonest=commonest))
    return tuple(slots)
