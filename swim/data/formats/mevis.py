"""MeViS: referring expressions in `meta_expressions.json`, the masks of their objects in `mask_dict.json` beside it.

A row is one expression, its video and the masks of its `anno_id`s; the file of expressions is cut into them. What
several objects cover together is the mask of the expression. The noun is found by rule (`swim.data.annotations.
expressions`). Videos are folders of pictures, named as the video.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from swim.data.annotations.expressions import expression_content, expression_rows, read_expression
from swim.data.annotations.fields import RowContent, RowFormat, has_field, has_own_text
from swim.data.annotations.listed_tracks import (
    frame_keys,
    merge_tracks,
    read_listed_masks,
    read_names,
)
from swim.data.rows.documents import Document, ListedRows, read_json
from swim.data.types import DataError

_MASKS = "mask_dict.json"


def matches(raw: dict[str, Any]) -> bool:
    return isinstance(raw.get("videos"), dict) and not has_field(raw, "mask_folder") and not has_own_text(raw)


def parse(raw: dict[str, Any]) -> RowContent:
    video, entry, expression = read_expression(raw)
    names = read_names(entry.get("frames"), "frames")
    if names != sorted(names):
        raise DataError("not in order", field="frames", hint="masks are listed by the sorted names: sort them")
    keys, numbering = frame_keys(names, raw.get("frames"))
    ids = expression.get("anno_id")
    if not isinstance(ids, list) or not ids:
        hint = "an expression that means nothing in the video has no noun to supervise: remove it"
        raise DataError("no objects", field="anno_id", hint=hint)
    masks = raw.get("mask_dict")
    if not isinstance(masks, dict):
        raise DataError("no masks", field="mask_dict", hint=f"put {_MASKS} beside the file of the expressions")
    lists, fields = [masks.get(str(i)) for i in ids], [f"mask_dict[{str(i)!r:.30}]" for i in ids]
    tracks = read_listed_masks(lists, keys, fields)
    return expression_content(video, expression, merge_tracks(tracks, "mask_dict"), numbering)


def _owns(path: Path, content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("videos"), dict):
        return False
    return "mask_dict" not in content and (path.parent / _MASKS).is_file()


def _rows(path: Path, content: Any) -> ListedRows:
    masks = read_json(path.parent / _MASKS)
    if not isinstance(masks, dict):
        hint = "give {'0': [mask or null, …], …}"
        raise DataError("not an object", field="file", hint=hint, file=str(path.parent / _MASKS))
    return ListedRows([_with_masks(row, masks) for row in expression_rows(content, str(path))])


def _with_masks(row: dict[str, Any], masks: dict[str, Any]) -> dict[str, Any]:
    (entry,) = row["videos"].values()
    ((_, expression),) = entry["expressions"].items()
    ids = expression.get("anno_id") if isinstance(expression, dict) else None
    own = {str(i): masks[str(i)] for i in ids if str(i) in masks} if isinstance(ids, list) else {}
    return row | {"mask_dict": own}


FORMAT = RowFormat(
    decides="`videos` with `expressions`, and `mask_dict`",
    fields=("videos", "mask_dict"),
    matches=matches,
    parse=parse,
    example={
        "videos": {
            "dog": {"expressions": {"0": {"exp": "The dog running left", "anno_id": [7]}}, "frames": ["00000", "00001"]}
        },
        "mask_dict": {"7": [{"size": [4, 6], "counts": [8, 4, 12]}, None]},
    },
    videos=lambda raw: list(raw["videos"]),
    document=Document(_owns, _rows, lambda path, content: [path.parent / _MASKS]),
)
