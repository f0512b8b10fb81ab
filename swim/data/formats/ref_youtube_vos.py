"""Ref-YouTube-VOS: referring expressions in `meta_expressions.json`, masks as PNG files of object numbers.

A row is one expression and its video; the file of expressions is cut into them. The masks of a video are the pictures
`Annotations/<video>/<frame>.png`, looked for beside the file, and where the data set has them as it comes
(`meta_expressions/train/meta_expressions.json` and `train/Annotations`). The noun is found by rule
(`swim.data.annotations.expressions`). Videos are folders of pictures, named as the video.

Only the file of expressions leads to masks. A row that names a folder itself is refused: the data hash covers the
folder beside that file, and no other.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from swim.data.annotations.expressions import expression_content, expression_rows, read_expression
from swim.data.annotations.fields import RowContent, RowFormat, has_field, has_own_text
from swim.data.annotations.listed_tracks import frame_keys, read_names
from swim.data.limits import MAX_MASK_PX, abbreviate
from swim.data.masks import encodings
from swim.data.rows.documents import Document, ListedRows
from swim.data.types import DataError, Rle

_OBJECT = re.compile(r"[1-9][0-9]{0,2}")
_NAME = re.compile(r"[\w-]{1,200}")
_MASKS = "mask_dict.json"  # of MeViS, whose expressions have the same shape


class _Annotations(str):
    """The folder of the masks, put into a row by this module. What a row of a user's own holds is a plain `str`."""


def matches(raw: dict[str, Any]) -> bool:
    return isinstance(raw.get("videos"), dict) and has_field(raw, "mask_folder") and not has_own_text(raw)


def parse(raw: dict[str, Any]) -> RowContent:
    video, entry, expression = read_expression(raw)
    names = read_names(entry.get("frames"), "frames")
    if bad := next((name for name in names if not _NAME.fullmatch(name)), None):
        raise DataError(f"{abbreviate(bad)} is no name of a picture", field="frames", hint="names without ending")
    folder = raw["mask_folder"]
    if not isinstance(folder, _Annotations):
        hint = "give data.annotations the file meta_expressions.json, with the folder Annotations beside it"
        raise DataError("a row cannot name the folder of its masks", field="mask_folder", hint=hint)
    number = str(expression.get("obj_id"))
    if not _OBJECT.fullmatch(number) or int(number) > 255:
        hint = "give the value of the object's pixels in the masks, 1 to 255"
        raise DataError(f"{number!r:.40} is no object", field="obj_id", hint=hint)
    track = {}
    keys, numbering = frame_keys(names, raw.get("frames"))
    for key, name in zip(keys, names, strict=True):
        path = Path(folder) / video / f"{name}.png"
        # Every fifth picture has masks; where all pictures are listed the others have none.
        if _is_file(path, Path(folder)):
            track[key] = _mask(path, int(number))
    if not any(encodings.area(rle) for rle in track.values()):
        place = f"{folder[:200]}, in a folder of the video"
        hint = f"an object must be visible once: are its masks in {place}? Else remove the expression"
        raise DataError(f"object {number} in none of {len(track)} masks", field="mask_folder", hint=hint)
    return expression_content(video, expression, track, numbering)


def _is_file(path: Path, folder: Path) -> bool:
    """Whether there is a mask. Raises DataError for a path outside the folder, also by a symlink."""
    hint = f"masks lie in {str(folder)[:200]}, in a folder named as the video"
    try:
        if folder.resolve() not in path.resolve().parents:
            raise DataError("masks outside their folder", field="videos", hint=f"{hint}: symlinks may not leave it")
        return path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # a name that is too long, or with a zero byte; a loop
        raise DataError("not a usable path", field="videos", hint=hint) from error


def _mask(path: Path, number: int) -> Rle:
    """The pixels with an object's number. Raises DataError (field "mask_folder")."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.mode not in ("P", "L") or picture.width * picture.height > MAX_MASK_PX:
                raise ValueError(f"{picture.width} × {picture.height} pixels of kind {picture.mode}, not a palette")
            pixels_HW = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        hint = "a mask is a PNG of one number a pixel, as the data set has it: copy it again"
        raise DataError(f"{path.name} is no mask: {error}", field="mask_folder", hint=hint) from error
    rle = coco.encode(np.asfortranarray(pixels_HW == number, dtype=np.uint8))
    height, width = pixels_HW.shape
    return Rle(height=height, width=width, counts=rle["counts"].decode("ascii"))


def _annotations(path: Path) -> Path | None:
    """The folder of the masks."""
    split = path.parent.name
    beside = (path.parent / "Annotations", path.parent.parent.parent / split / "Annotations")
    return next((folder for folder in beside if folder.is_dir()), None)


def _owns(path: Path, content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("videos"), dict):
        return False
    return "mask_folder" not in content and not (path.parent / _MASKS).is_file()


def _rows(path: Path, content: Any) -> ListedRows:
    folder = _annotations(path)
    if folder is None:
        hint = f"put {_MASKS} (MeViS) or the folder Annotations (Ref-YouTube-VOS) beside it; a test set has none"
        raise DataError("expressions without masks", field="file", hint=hint, file=str(path))
    return ListedRows([row | {"mask_folder": _Annotations(folder)} for row in expression_rows(content, str(path))])


def _files(path: Path, content: Any) -> list[Path]:
    folder = _annotations(path)
    return [folder] if folder else []


FORMAT = RowFormat(
    decides="`videos` with `expressions`, in a file beside the folder `Annotations`",
    fields=("videos", "mask_folder"),
    matches=matches,
    parse=parse,
    example={
        "videos": {
            "dog": {"expressions": {"0": {"exp": "a dog on the left", "obj_id": "1"}}, "frames": ["00000", "00001"]}
        },
    },
    videos=lambda raw: list(raw["videos"]),
    document=Document(_owns, _rows, _files),
)
