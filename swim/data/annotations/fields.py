"""Functions that all row formats use: texts with their marks, turns and slots, and the plain fields.

A mark is the place in a text of an object that has masks: an `<ins>noun</ins>` tag, or a `<region>` placeholder that is
not rewritten yet. For any JSON value these functions return what they document or raise DataError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from swim.data.annotations.markup import MarkupError, strip_tags
from swim.data.annotations.texts import stacked_marks, uniform, uniform_index, video_token, without_video
from swim.data.annotations.tracks import read_tracks
from swim.data.limits import MAX_LABEL_CHARS, MAX_PATH_CHARS, MAX_TEXT_CHARS, abbreviate
from swim.data.rows.documents import Document
from swim.data.types import AnswerSlot, DataError, Rle, Turn
from swim.data_config import Numbering

# `<object1>` labels the region after it; alone it mentions that region. Misspelt ones match too, to be rejected.
_PLACEHOLDER = re.compile(r"<\s*+(?:region\s*+[0-9]*+|object\s*+[0-9]++)\s*+>", re.IGNORECASE)
_SPELT = re.compile(r"<(?:region|object([0-9]{1,4}))>")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LABEL = re.compile(r"<object([0-9]{1,4})>\s*+<region>")


@dataclass(frozen=True)
class RowContent:
    """What a format reads from a row: the fields of ReferSample of the same names."""

    video: str
    turns: tuple[Turn, ...]
    tracks: tuple[dict[int, Rle], ...] = ()
    marks: Literal["ins", "region", "none"] = "none"
    question_type: str = ""
    options: tuple[str, ...] = ()
    frames: Numbering | None = None
    reference_differs: bool = False


def _named_video(raw: dict[str, Any]) -> Iterable[str]:
    video = raw.get("video")
    return [video] if isinstance(video, str) else []


@dataclass(frozen=True)
class RowFormat:
    """An entry of `swim.data.formats`. `decides` describes what `matches` tests. For a row that no format
    matches, the error names the format whose `fields` it has most of as the closest.

    `example` is a right row, which is shown with every refused one. `videos` are the paths that a row names, for
    hashing: it never raises. `document` reads data sets that are no file of rows."""

    decides: str
    fields: tuple[str, ...]
    matches: Callable[[dict[str, Any]], bool]
    parse: Callable[[dict[str, Any]], RowContent]
    example: dict[str, Any] = field(default_factory=dict)
    videos: Callable[[dict[str, Any]], Iterable[str]] = _named_video
    document: Document | None = None


@dataclass(frozen=True)
class MarkedText:
    """One text and its marks. `value` is the text as written without a leading or trailing `<video>`, `plain` also
    without tags; `tags` and `regions` count its marks, `labels` are the objects it introduces, `mentions` those it
    names; `placeholder` is the first placeholder, "" without one."""

    value: str
    plain: str
    field: str
    tags: int
    regions: int
    labels: frozenset[str]
    mentions: frozenset[str]
    placeholder: str


def has_field(raw: dict[str, Any], field: str) -> bool:
    """Whether a row has a field. Null counts as missing, because Parquet gives every row the fields of all rows."""
    return raw.get(field) is not None


def names_its_video(raw: dict[str, Any]) -> bool:
    """Whether a row is of the formats that name one video in `video`, and not of one with `videos`, `messages`, a
    `file_name`, or a video in the row itself."""
    elsewhere = has_field(raw, "file_name") and not has_field(raw, "video")
    other = has_field(raw, "videos") or has_field(raw, "messages") or isinstance(raw.get("video"), dict)
    return not (elsewhere or other)


def has_own_text(raw: dict[str, Any]) -> bool:
    """Whether a row has a chat, a caption or a question. Rows of videos with listed masks have none."""
    return any(has_field(raw, key) for key in ("messages", "conversations", "caption", "Question"))


def has_placeholder(raw: dict[str, Any]) -> bool:
    """Whether a row's conversations contain a `<region>` or `<object0>`, in any spelling."""
    return any(_PLACEHOLDER.search(text) for text in _texts(raw.get("conversations")))


def read_text(text: Any, *, field: str, first_question: bool = False) -> MarkedText:
    """A question or answer, checked. VideoRefer names the video before or after the first question, no other text may.
    Raises DataError with this `field`."""
    value = plain_text(text, field=field, hint="give a string", max_chars=MAX_TEXT_CHARS)
    if stacked_marks(value):
        raise DataError("more than 30 accents on a letter", field=field, hint="the text is damaged: write it again")
    value = uniform(value)
    if first_question:
        value = without_video(value)
    if token := video_token(value):
        hint = "one video a row, named once as <video>, at the start or the end of the first question"
        raise DataError(f"{token[:40]} inside the text", field=field, hint=hint)
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
            raise DataError(f"{abbreviate(placeholder)} is no placeholder", field=field, hint=hint)
    return MarkedText(
        value=value,
        plain=plain,
        field=field,
        tags=len(spans),
        regions=placeholders.count("<region>"),
        labels=frozenset(_LABEL.findall(value)),
        mentions=frozenset(match[1] for match in map(_SPELT.fullmatch, placeholders) if match and match[1]),
        placeholder=placeholders[0] if placeholders else "",
    )


def read_turns(conversations: Any) -> tuple[tuple[Turn, ...], tuple[MarkedText, ...]]:
    """The human-gpt pairs, and their texts in reading order."""
    field = "conversations"
    if not isinstance(conversations, list) or not conversations or len(conversations) % 2:
        raise DataError(
            "not a list of human-gpt pairs", field=field, hint="give [{'from': 'human', …}, {'from': 'gpt', …}]"
        )
    texts = tuple(read_message(entry, i) for i, entry in enumerate(conversations))
    turns = tuple(
        Turn(
            human=texts[i].value,
            gpt=texts[i + 1].value,
            slots=_read_slots(conversations[i + 1], texts[i + 1].plain, f"{field}[{i + 1}].slots"),
        )
        for i in range(0, len(texts), 2)
    )
    return turns, texts


def read_message(entry: Any, i: int) -> MarkedText:
    """Entry `i` of the conversations: of a human where `i` is even, else of gpt."""
    role = ("human", "gpt")[i % 2]
    if not isinstance(entry, dict) or entry.get("from") != role:
        raise DataError(f"not from {role!r}", field=f"conversations[{i}].from", hint="human and gpt must take turns")
    return read_text(entry.get("value"), first_question=i == 0, field=f"conversations[{i}].value")


def read_supervision(
    raw: dict[str, Any], texts: Sequence[MarkedText]
) -> tuple[tuple[dict[int, Rle], ...], Literal["ins", "region", "none"]]:
    """The tracks of a row, one for each mark of its texts in reading order, and the kind of the marks. A row with
    neither marks nor `annotation` is text only and has none. Raises DataError where marks and annotation disagree."""
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


def read_numbering(raw: dict[str, Any]) -> Numbering | None:
    """What the keys of `annotation` are in a folder of pictures, if `frames` says it. Anything but a text belongs to
    somebody else: data sets list or count their frames under this name."""
    match raw.get("frames"):
        case "position":
            return "position"
        case "number":
            return "number"
        case str(other):
            hint = '"position" (keys count pictures from 0) or "number" (keys are the numbers in their names)'
            raise DataError(f"{abbreviate(other)} is no way to number frames", field="frames", hint=hint)
    return None


def read_label(raw: dict[str, Any], field: str) -> str:
    """A short optional text, "" when it is missing."""
    if not has_field(raw, field):
        return ""
    return uniform(plain_text(raw[field], field=field, hint="give a short text, or leave it out"))


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


def _read_slots(entry: dict[str, Any], answer: str, field: str) -> tuple[AnswerSlot, ...]:
    """The slots of a message, whose text reads `answer` once it is uniform and without tags."""
    raw = entry.get("slots")
    if raw is None:
        return ()
    if not isinstance(raw, list):
        raise DataError("not a list", field=field, hint="give [{'name', 'start', 'end'}, …]")
    written = strip_tags(entry["value"])[0]
    slots: list[AnswerSlot] = []
    for i, slot in enumerate(raw):
        slot_field = f"{field}[{i}]"
        name, start, end = (slot.get(k) for k in ("name", "start", "end")) if isinstance(slot, dict) else (None,) * 3
        if not (name and type(start) is int and type(end) is int):
            raise DataError("incomplete", field=slot_field, hint="give a name and whole numbers start and end")
        if not 0 <= start < end <= len(written):
            hint = f"start and end count characters of the answer without its tags ({len(written)})"
            raise DataError(
                f"[{abbreviate(start)}, {abbreviate(end)}) is outside the answer", field=slot_field, hint=hint
            )
        commonest = slot.get("commonest")
        if commonest is not None:
            hint = "give the value most objects share"
            commonest = uniform(plain_text(commonest, field=f"{slot_field}.commonest", hint=hint))
        contested = slot.get("contested")
        if not isinstance(contested, bool | None):
            hint = "say whether the clip's objects differ in it"
            raise DataError("contested is no true or false", field=slot_field, hint=hint)
        name = plain_text(name, field=f"{slot_field}.name", hint="give a name")
        if written != answer:
            start, end = (uniform_index(written, index, slot_field) for index in (start, end))
        slots.append(AnswerSlot(name=name, start=start, end=end, commonest=commonest, contested=contested))
    return tuple(slots)
