"""Hugging Face `datasets`: a video in the row itself (`{"bytes", "path"}`), or a `file_name` as in a VideoFolder.

Read are Parquet files, the `metadata.jsonl` of a VideoFolder, and a folder that `save_to_disk` wrote. The text is
`conversations` (human and gpt), `messages` (user and assistant) or a `caption`. Bytes are written to the cache of
videos under the hash of their content. Nouns are tagged and have masks in `annotation`, as in NL-Refer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from swim.data.annotations.chat_rows import read_conversations, read_messages, refuse_other_media
from swim.data.annotations.fields import (
    MarkedText,
    RowContent,
    RowFormat,
    has_field,
    names_its_video,
    read_supervision,
    read_text,
    read_video,
)
from swim.data.rows import parquet_rows
from swim.data.rows.documents import Document, read_json
from swim.data.types import DataError, Turn
from swim.data.video.cached_videos import keep_video

_TEXTS = ("conversations", "messages", "caption")
# Rows are converted in batches of so many: each may hold a whole video.
_ROWS_AT_ONCE = 8
_QUESTION = "Describe the video in detail."


def matches(raw: dict[str, Any]) -> bool:
    text = any(has_field(raw, key) for key in _TEXTS)
    return text and not has_field(raw, "videos") and _has_own_video(raw) and not has_field(raw, "Question")


def parse(raw: dict[str, Any]) -> RowContent:
    texts_given = [key for key in _TEXTS if has_field(raw, key)]
    if len(texts_given) > 1:
        hint = "a row has one text: keep the one to train on"
        raise DataError(f"beside {texts_given[0]}", field=texts_given[1], hint=hint)
    refuse_other_media(raw)
    turns, texts = _turns(raw, texts_given[0])
    tracks, marks = read_supervision(raw, texts)
    return RowContent(_video(raw), turns, tracks, marks)


def _turns(raw: dict[str, Any], given: str) -> tuple[tuple[Turn, ...], tuple[MarkedText, ...]]:
    if given == "caption":
        caption = read_text(raw["caption"], field="caption")
        return (Turn(human=_QUESTION, gpt=caption.value),), (caption,)
    read = read_messages if given == "messages" else read_conversations
    return read(raw | {given: _entries(raw[given])})


def _has_own_video(raw: dict[str, Any]) -> bool:
    return not names_its_video(raw | {"messages": None})


def _entries(value: Any) -> Any:
    """A list of objects; from an object of lists, as older versions of `datasets` store it."""
    if not isinstance(value, dict) or not all(isinstance(column, list) for column in value.values()):
        return value
    if len({len(column) for column in value.values()}) != 1:
        return value
    return [dict(zip(value, entry, strict=True)) for entry in zip(*value.values(), strict=True)]


def _video(raw: dict[str, Any]) -> str:
    video = raw.get("video")
    if not isinstance(video, dict):
        return read_video({"video": raw.get("file_name")})
    content = video.get("bytes")
    if content is None:
        return read_video({"video": video.get("path")})
    if not isinstance(content, str) or not content:
        raise DataError("no bytes", field="video.bytes", hint="give the bytes of the video file, or its path alone")
    try:
        # Rows are JSON values, so bytes come as text in which half surrogates stand for what is no UTF-8.
        return keep_video(content.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise DataError("no bytes", field="video.bytes", hint="store the video as binary in Parquet") from error


class _SavedRows:
    """The rows of a folder that `save_to_disk` wrote."""

    def __init__(self, folder: Path, content: Any) -> None:
        self._folder = folder
        if not (folder / "state.json").is_file():
            splits = ", ".join(sorted(path.parent.name for path in folder.glob("*/state.json")))
            hint = f"name the folder of one split: {splits or 'it has none'}"
            raise DataError("several splits", field="file", hint=hint, file=str(folder))
        state = read_json(folder / "state.json")
        if not isinstance(state, dict) or state.get("_indices_data_files"):
            hint = "save it again after flatten_indices(): the files hold rows that the data set has left out"
            raise DataError("a selection of rows", field="file", hint=hint, file=str(folder))
        entries = state.get("_data_files")
        names = [entry.get("filename") for entry in entries or [] if isinstance(entry, dict)]
        usable = [name for name in names if isinstance(name, str) and Path(name).name == name]
        if not usable or len(usable) < len(names):
            hint = "copy the folder again: its state.json lists no files"
            raise DataError("no data files", field="file", hint=hint, file=str(folder))
        self._files = [folder / name for name in usable]
        self._counts = [sum(batch.num_rows for batch in self._batches(file)) for file in self._files]

    def __len__(self) -> int:
        return sum(self._counts)

    def between(self, first: int, end: int) -> Iterator[Any]:
        before = 0
        for file, count in zip(self._files, self._counts, strict=True):
            if first < before + count and before < end:
                at = before
                for batch in self._batches(file):
                    low, high = max(first - at, 0), min(end - at, batch.num_rows)
                    for row in range(low, high, _ROWS_AT_ONCE):
                        some = batch.slice(row, min(_ROWS_AT_ONCE, high - row))
                        yield from parquet_rows.dicts(some, str(file), at + row)
                    at += batch.num_rows
            before += count

    def _batches(self, file: Path) -> Iterator[Any]:
        try:
            with pa.memory_map(str(file)) as source:
                yield from pa.ipc.open_stream(source)
        except (pa.ArrowException, OSError) as error:
            hint = "copy the folder again: the file is cut off or of another kind"
            raise DataError(f"cannot be read as Arrow: {error}", field="file", hint=hint, file=str(file)) from error


def _owns(path: Path, content: Any) -> bool:
    return path.is_dir() and any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _named(raw: dict[str, Any]) -> list[str]:
    video, name = raw.get("video"), raw.get("file_name")
    if isinstance(video, dict):
        name = video.get("path") if video.get("bytes") is None else None
    return [name] if isinstance(name, str) else []


FORMAT = RowFormat(
    decides="`file_name`, or a `video` of `bytes` and `path`, with `messages`, `conversations` or `caption`",
    fields=("file_name",),
    matches=matches,
    parse=parse,
    example={
        "file_name": "dog.mp4",
        "messages": [
            {"role": "user", "content": "What does the <ins>dog</ins> do?"},
            {"role": "assistant", "content": "It runs."},
        ],
        "annotation": [{"0": {"segmentation": {"size": [4, 6], "counts": [8, 4, 12]}}}],
    },
    videos=_named,
    document=Document(_owns, _SavedRows),
)
