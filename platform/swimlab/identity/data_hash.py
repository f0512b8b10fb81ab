"""The data hash of a recipe on a user's own files: by content, never by location.

Files are hashed in full, once: a JSON file caches each hash by path, size and modification time.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from swim.data.annotations.samples import named_videos
from swim.data.rows.documents import document_of
from swim.data.rows.read import read_rows, split
from swim.data.types import DataError
from swim.data.video import media
from swim.data.video.decode import resolve_video
from swim.recipe import NLReferFiles
from swimlab.base import remembered
from swimlab.identity.canonical import plain_fields
from swimlab.identity.source_closure import IdentityError
from swimlab.identity.splits import FIELDS, TRAINED, Split, annotation_files

# A file changed twice within the resolution of its timestamp would keep its cached hash, so hashes of files younger
# than this are not cached.
_SETTLED_NS = 2_000_000_000
_COUNTED_AT_ONCE = 2**20


class FileHashes:
    """sha256 of whole files, cached in `cache_dir`/file-hashes.json. Use it as a context manager, which saves the
    cache."""

    def __init__(self, cache_dir: Path) -> None:
        self._path = cache_dir / "file-hashes.json"
        self._known = remembered.load(self._path)
        self._new: dict[str, list[Any]] = {}

    def __enter__(self) -> "FileHashes":
        return self

    def __exit__(self, *_: object) -> None:
        if self._new:
            remembered.add(self._path, self._new)

    def of(self, path: Path) -> str:
        """sha256 of a file, or of the names and hashes of the files of a folder (a video may be a folder of frames)."""
        if path.is_dir():
            inside = {p.relative_to(path).as_posix(): self.of(p) for p in sorted(path.rglob("*")) if p.is_file()}
            return hashlib.sha256(json.dumps(inside, sort_keys=True).encode()).hexdigest()
        stat = path.stat()
        key, stamp = str(path.absolute()), [stat.st_size, stat.st_mtime_ns]
        entry = self._known.get(key)
        if entry is not None and entry[:2] == stamp:
            return str(entry[2])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time_ns() - stat.st_mtime_ns > _SETTLED_NS:
            self._known[key] = self._new[key] = [*stamp, digest]
        return digest


def files_content(data: NLReferFiles, cache_dir: Path, splits: Sequence[Split] = TRAINED) -> dict[str, Any]:
    """The content of a user's files of these splits, as plain values to be hashed: the frame policy, the formats, and
    per annotation file its name, its content and the contents of the videos its rows name (an unreadable one counts as
    "unreadable"). Objects on S3 count by entity tag and size. `fraction` is not included: every fraction reads the same
    clips. Raises IdentityError for an annotation file that cannot be read.
    """
    with FileHashes(cache_dir) as hashes:
        return {
            "kind": data.kind,
            "frames": plain_fields(data.frames),
            "formats": sorted(data.formats),
            **({"placeholders": data.placeholders} if data.placeholders != "refuse" else {}),
            **{
                part: [
                    _annotation(name, data.videos, f"data.{FIELDS[part]}", hashes, cache_dir)
                    for name in annotation_files(data, part)
                ]
                for part in splits
            },
        }


def _annotation(file: str, videos: str, field: str, hashes: FileHashes, cache_dir: Path) -> dict[str, Any]:
    name = file.rstrip("/").rpartition("/")[2]  # a folder of Parquet files may end in a slash
    try:
        digest = _content(file, hashes)
        named = _named_videos(file, digest, cache_dir)
    except OSError as error:
        raise IdentityError(f"annotation file {file}: {error.strerror}; correct {field}") from error
    except DataError as error:
        raise IdentityError(str(error)) from error
    return {"name": name, "sha256": digest, "videos": {video: _video(videos, video, hashes) for video in named}}


def _content(file: str, hashes: FileHashes) -> str:
    """A hash of all that the rows of an annotation file are read from."""
    folder, _, name = file.rstrip("/").rpartition("/")
    digest = media.s3_version(folder, name) or hashes.of(Path(file))
    if (document := document_of(file)) and document.files:
        others = {os.path.relpath(other, Path(file).parent): hashes.of(other) for other in document.files}
        digest = hashlib.sha256(json.dumps([digest, others], sort_keys=True).encode()).hexdigest()
    return digest


def _named_videos(file: str, digest: str, cache_dir: Path) -> list[str]:
    """The videos that a file's rows name, cached by the file's content, so that large files are not read at every
    start. The cache of an older swimlab, `named-videos`, knows no other key than `video`."""
    memory = cache_dir / "named-videos-2" / f"{hashlib.sha256(digest.encode()).hexdigest()}.json"
    try:
        names: list[str] = json.loads(memory.read_text())
        return names
    except (FileNotFoundError, json.JSONDecodeError):
        pass
    # Unusable rows are skipped here and quarantined later; they are part of the file's own hash.
    rows = (row for _, row in read_rows(file) if isinstance(row, dict))
    named = sorted({video for row in rows for video in named_videos(row)})
    memory.parent.mkdir(parents=True, exist_ok=True)
    temporary = memory.with_name(f".{memory.name}-{uuid4().hex}")
    temporary.write_text(json.dumps(named))
    os.replace(temporary, memory)
    return named


def row_count(file: str, cache_dir: Path) -> int:
    """Rows of an annotation file, usable or not, cached by its content. Raises DataError and OSError where it cannot be
    read."""
    with FileHashes(cache_dir) as hashes:
        version = _content(file, hashes)
    memory = cache_dir / "row-counts.json"
    if version not in (counts := remembered.load(memory)):
        counts = {version: sum(part.rows for part in split(file, _COUNTED_AT_ONCE))}
        remembered.add(memory, counts)
    return int(counts[version])


def _video(videos: str, name: str, hashes: FileHashes) -> str:
    try:
        return media.s3_version(videos, name) or hashes.of(resolve_video(Path(videos), name))
    except (DataError, OSError) as error:  # its row will be quarantined; a repaired video changes the hash
        return f"unreadable: {type(error).__name__}"
