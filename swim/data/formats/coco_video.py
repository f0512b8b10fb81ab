"""YouTube-VIS and other COCO data of videos: `videos`, `categories`, and `annotations` with a mask a picture.

A row is such a file of one video; a whole file is cut into them. There is no text: the row asks which kinds of objects
there are, and the answer names each category once, tagged, with the masks of all its objects together (nothing tells
two objects of one name apart). The video is the folder of the pictures in `file_names`. A null is no mask: in this
picture the category is not supervised, unless another object of it is there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from swim.data.annotations.fields import RowContent, RowFormat, has_own_text, plain_text, read_text
from swim.data.annotations.listed_tracks import (
    frame_keys,
    merge_tracks,
    read_listed_masks,
    read_names,
    single,
)
from swim.data.limits import MAX_PATH_CHARS, abbreviate
from swim.data.rows.documents import Document, ListedRows
from swim.data.types import DataError, Turn

_QUESTION = "Which kinds of objects does the video show?"


def matches(raw: dict[str, Any]) -> bool:
    videos = raw.get("videos")
    listed = isinstance(videos, list) and any(isinstance(video, dict) for video in videos)
    return listed and not has_own_text(raw)


def parse(raw: dict[str, Any]) -> RowContent:
    video = single(raw["videos"], "videos", "video")
    names = read_names(video.get("file_names"), "videos[0].file_names")
    folders = {str(PurePosixPath(name).parent) for name in names}
    if len(folders) > 1 or folders == {"."}:
        hint = "a video is a folder of pictures: give each name as folder/picture.jpg"
        raise DataError("pictures that are not in one folder", field="videos[0].file_names", hint=hint)
    annotations = raw.get("annotations")
    if not isinstance(annotations, list) or not annotations:
        raise DataError("no objects", field="annotations", hint="a video without masks cannot be supervised: remove it")
    for i, annotation in enumerate(annotations):
        if not isinstance(annotation, dict) or annotation.get("video_id") != video.get("id"):
            hint = "give {'video_id', 'category_id', 'segmentations'} with the id of the video"
            raise DataError("not of this video", field=f"annotations[{i}].video_id", hint=hint)
    keys, numbering = frame_keys(names, raw.get("frames"))
    tracks = read_listed_masks(
        [annotation.get("segmentations") for annotation in annotations],
        keys,
        [f"annotations[{i}].segmentations" for i in range(len(annotations))],
        (video.get("height"), video.get("width")),
    )
    nouns = [_noun(raw.get("categories"), annotation, i) for i, annotation in enumerate(annotations)]
    by_noun = {
        noun: merge_tracks([t for t, n in zip(tracks, nouns, strict=True) if n == noun], "annotations")
        for noun in dict.fromkeys(nouns)
    }
    answer = read_text(", ".join(f"<ins>{noun}</ins>" for noun in by_noun), field="categories")
    path = plain_text(folders.pop(), field="videos[0].file_names", hint="shorten it", max_chars=MAX_PATH_CHARS)
    turns = (Turn(human=_QUESTION, gpt=answer.value),)
    return RowContent(path, turns, tuple(by_noun.values()), "ins", frames=numbering)


def _noun(categories: Any, annotation: dict[str, Any], i: int) -> str:
    """The name of an annotation's category, in words."""
    entries = categories if isinstance(categories, list) else []
    wanted = annotation.get("category_id")
    for entry in entries:
        if isinstance(entry, dict) and wanted is not None and entry.get("id") == wanted:
            name = plain_text(entry.get("name"), field="categories.name", hint="name the category in a word or two")
            if words := " ".join(name.replace("_", " ").split()):
                return words
    hint = "list it in `categories` as {'id', 'name'}"
    raise DataError(f"no category {abbreviate(wanted)}", field=f"annotations[{i}].category_id", hint=hint)


def _owns(path: Path, content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("videos"), list):
        return False
    return "annotations" in content or "categories" in content


def _rows(path: Path, content: Any) -> ListedRows:
    annotations = content.get("annotations")
    if not isinstance(annotations, list):
        hint = "a file without masks (of a test set) cannot be trained on: give the one with them"
        raise DataError("no list", field="annotations", hint=hint, file=str(path))
    of_video: defaultdict[str, list[Any]] = defaultdict(list)
    for annotation in annotations:
        of_video[_key(annotation.get("video_id") if isinstance(annotation, dict) else None)].append(annotation)
    _refuse_one_id_twice(content["videos"], "videos", path)
    _refuse_one_id_twice(content.get("categories"), "categories", path)
    rows: list[Any] = []
    for video in content["videos"]:
        if not isinstance(video, dict):
            rows.append(video)
            continue
        of_this = of_video.pop(_key(video.get("id")), [])
        row = {"id": video.get("id"), "videos": [video], "categories": content.get("categories")}
        rows.append(row | {"annotations": of_this})
    if of_video:
        hint = "give each annotation the id of a video of the file, and each video an id of its own"
        reason = f"objects of a video {next(iter(of_video))[:60]} that is not listed"
        raise DataError(reason, field="annotations", hint=hint, file=str(path))
    return ListedRows(rows)


def _refuse_one_id_twice(entries: Any, field: str, path: Path) -> None:
    """Raises DataError for two videos, or two categories, of one id: masks would go to the wrong one of them."""
    ids = Counter(_key(entry.get("id")) for entry in entries or [] if isinstance(entry, dict))
    if twice := next((name for name, count in ids.items() if count > 1), None):
        hint = "files that were put together must be numbered anew: give each an id of its own"
        raise DataError(f"the id {twice[:60]} twice", field=field, hint=hint, file=str(path))


def _key(value: Any) -> str:
    return repr(value) if isinstance(value, str | int) else abbreviate(value)


def _videos(raw: dict[str, Any]) -> list[str]:
    folders = set()
    for video in raw["videos"]:
        names = video.get("file_names") if isinstance(video, dict) else None
        first = names[0] if isinstance(names, list) and names else None
        folders |= {str(PurePosixPath(first).parent)} if isinstance(first, str) else set()
    return sorted(folders)


FORMAT = RowFormat(
    decides="`videos` with `file_names`, `categories` and `annotations`",
    fields=("videos", "categories", "annotations"),
    matches=matches,
    parse=parse,
    example={
        "videos": [{"id": 1, "file_names": ["dog/00000.jpg", "dog/00001.jpg"], "height": 4, "width": 6}],
        "categories": [{"id": 5, "name": "dog"}],
        "annotations": [
            {"video_id": 1, "category_id": 5, "segmentations": [{"size": [4, 6], "counts": [8, 4, 12]}, None]}
        ],
    },
    videos=_videos,
    document=Document(_owns, _rows),
)
