"""LLaMA-Factory, sharegpt: `conversations` of human and gpt about the one video in `videos`.

A `dataset_info.json` is read as the rows of all data sets that it describes, in order, with the columns and tags that
it names. Referring nouns are tagged `<ins>noun</ins>` and have their masks in `annotation`, as in NL-Refer; rows with
neither are trained on as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from swim.data.annotations.chat_rows import listed_names, read_chat_row, read_conversations
from swim.data.annotations.fields import RowContent, RowFormat, has_field
from swim.data.limits import abbreviate
from swim.data.rows.documents import Document
from swim.data.rows.read import Part, read_part, split
from swim.data.types import DataError

_SOURCES = ("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_ROWS_PER_PART = 256
# Names that LLaMA-Factory uses where `tags` does not say otherwise.
_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "system_tag": "system",
}
_COLUMNS = ("system", "tools", "videos", "images", "audios")


def matches(raw: dict[str, Any]) -> bool:
    text_only = has_field(raw, "caption") or has_field(raw, "Question") or has_field(raw, "messages")
    return has_field(raw, "conversations") and has_field(raw, "videos") and not text_only


def parse(raw: dict[str, Any]) -> RowContent:
    return read_chat_row(raw, *read_conversations(raw))


class _DescribedRows:
    """The rows of the data sets that a `dataset_info.json` describes, with the names of the usual columns and tags."""

    def __init__(self, path: Path, described: dict[str, Any]) -> None:
        self._parts: list[tuple[Part, dict[str, Any]]] = []
        for name, entry in described.items():
            file = _file(path, name, entry)
            self._parts += [(part, entry) for part in split(file, _ROWS_PER_PART)]

    def __len__(self) -> int:
        return sum(part.rows for part, _ in self._parts)

    def between(self, first: int, end: int) -> Iterator[Any]:
        before = 0
        for part, entry in self._parts:
            if first < before + part.rows and before < end:
                for i, (_, raw) in enumerate(read_part(part), start=before):
                    if first <= i < end:
                        yield _usual(raw, entry)
            before += part.rows


def _owns(path: Path, content: Any) -> bool:
    entries = list(content.values()) if isinstance(content, dict) else []
    return bool(entries) and all(isinstance(e, dict) and any(key in e for key in _SOURCES) for e in entries)


def _files(path: Path, content: Any) -> list[Path]:
    return [_file(path, name, entry) for name, entry in content.items()]


def _file(path: Path, name: str, entry: dict[str, Any]) -> Path:
    """The file of rows of one data set. Raises DataError for one that is not read here."""

    def refused(reason: str, key: str, hint: str) -> DataError:
        return DataError(reason, field=f"{abbreviate(name)}.{key}", hint=hint, file=str(path))

    keep = "keep only the data sets to train on in a copy of the file"
    if remote := next((key for key in _SOURCES[1:] if key in entry), None):
        raise refused("a data set that is not in this folder", remote, f"download it and give file_name, or {keep}")
    if entry.get("formatting", "alpaca") != "sharegpt":
        raise refused(
            f"{entry.get('formatting', 'alpaca')!r:.60}, not sharegpt", "formatting", f"convert it, or {keep}"
        )
    if entry.get("ranking"):
        raise refused("preferences, no answers", "ranking", keep)
    for key in ("columns", "tags"):
        names = entry.get(key, {})
        if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
            raise refused("not an object of names", key, "give {'messages': …, 'videos': …}")
    if "videos" not in entry.get("columns", {}):
        raise refused("no column of videos", "columns", f"name it: {{'videos': …}}, or {keep}")
    file = path.parent / str(entry["file_name"])
    if not file.is_file() or path.parent.resolve() not in file.resolve().parents:
        raise refused(f"no file {entry['file_name']!r:.100} beside it", "file_name", f"put it there, or {keep}")
    return file


def _usual(raw: Any, entry: dict[str, Any]) -> Any:
    """A row with the names that `parse` knows; what no entry of the description renames stays."""
    if not isinstance(raw, dict):
        return raw
    columns, tags = entry.get("columns", {}), _TAGS | entry.get("tags", {})
    renamed = {columns[key]: key for key in _COLUMNS if key in columns}
    chat = columns.get("messages", "conversations")
    row = {renamed.get(key, key): value for key, value in raw.items() if key != chat}
    roles = {tags["user_tag"]: "human", tags["assistant_tag"]: "gpt", tags["system_tag"]: "system"}
    messages = raw.get(chat)
    if isinstance(messages, list):
        messages = [
            _usual_message(message, roles, tags["role_tag"], tags["content_tag"])
            if isinstance(message, dict)
            else message
            for message in messages
        ]
    return row if messages is None else row | {"conversations": messages}


def _usual_message(message: dict[str, Any], roles: dict[str, str], role_tag: str, content_tag: str) -> dict[str, Any]:
    role = message.get(role_tag)
    kept = {key: value for key, value in message.items() if key not in (role_tag, content_tag)}
    return kept | {"from": roles.get(role, role) if isinstance(role, str) else role, "value": message.get(content_tag)}


FORMAT = RowFormat(
    decides="`conversations` and `videos`",
    fields=("conversations", "videos"),
    matches=matches,
    parse=parse,
    example={
        "conversations": [
            {"from": "human", "value": "<video>What does the <ins>dog</ins> do?"},
            {"from": "gpt", "value": "It runs."},
        ],
        "videos": ["dog.mp4"],
        "annotation": [{"0": {"segmentation": {"size": [4, 6], "counts": [8, 4, 12]}}}],
    },
    videos=listed_names,
    document=Document(_owns, _DescribedRows, _files),
)
