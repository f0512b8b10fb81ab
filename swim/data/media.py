"""Where a row's video lies: a file or a folder of pictures under a local root, or objects under an s3:// prefix.

Rows come from strangers. What they name must be a regular file, or a folder, under the root and nowhere else, and no
playlist, which would name yet other files.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from swim.data.frames import check_frames, video_error
from swim.data.pictures import SUFFIXES
from swim.data.storage import s3_advice

MAX_VIDEO_BYTES = 2**34  # fetched from S3: a temporary disk has to hold it
# Containers are found by their content, so these names are refused as well as these beginnings. The decoder's list of
# formats has no playlist in it either: this is for a clear word.
_PLAYLISTS = (".m3u", ".m3u8", ".mpd", ".concat", ".ffconcat", ".ffcat", ".sdp", ".pls", ".asx", ".ism", ".xspf")
_PLAYLIST_BEGINNINGS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0", b"[playlist]", b"<asx", b"<ASX")
_SCHEME = "s3://"
_MAX_NAME_BYTES = 255  # of a local file; keys of S3 may have 1,024


@contextmanager
def local_video(root: str, video: str, scratch: Path | None = None) -> Iterator[Path]:
    """The file, or folder of pictures, that `video` names under `root`, a folder or s3://bucket/prefix.

    What lies on S3 is fetched into a temporary folder under `scratch` (the system's, if None) and deleted on exit.
    Raises DataError (field "video") for whatever is missing, too large, or leaves the root; OSError when S3 cannot be
    reached, which says nothing about the row.
    """
    if not _remote(root):
        path = resolve_video(Path(root), video)
        try:
            yield path
        except OSError as error:
            raise video_error(f"cannot be read: {error.strerror}", f"{video!r:.200}: check its permissions") from error
        return
    with tempfile.TemporaryDirectory(prefix="swim-video-", dir=scratch, ignore_cleanup_errors=True) as folder:
        yield _fetch(root, video, Path(folder))


def resolve_video(root: Path, video: str) -> Path:
    """The file or folder `video` names under `root`. Raises DataError for whatever leaves it, by symlink too."""
    _parts(video)
    where = f"{video!r:.200}"
    try:
        base = Path(root).resolve()
        path = (base / video).resolve()
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise video_error("no such file", f"{where} was looked for under the videos folder {root}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise video_error("not a usable path", f"{where}: {error}") from error
    if base not in path.parents:
        raise video_error(
            "outside the videos folder", f"{where}: symlinks may not leave it; copy the file, or move the root"
        )
    if stat.S_ISDIR(mode):
        return path
    if not stat.S_ISREG(mode):  # a pipe or a device would be read for ever
        raise video_error("neither a file nor a folder", f"{where} is a pipe, a device or a socket: copy the video")
    refuse_playlist(path)
    return path


def refuse_playlist(path: Path) -> None:
    """Raises DataError for a text file that names other files, whatever its own name."""
    try:
        with path.open("rb") as file:
            beginning = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise video_error(f"cannot be read: {error.strerror}", f"{path.name!r:.200}: check its permissions") from error
    if path.suffix.lower() in _PLAYLISTS or beginning.startswith(_PLAYLIST_BEGINNINGS):
        raise video_error("a playlist, not a video", f"{path.name!r:.200}: give the video itself")


def version(root: str, video: str) -> str | None:
    """What identifies a video on S3 without reading it: entity tag and size, of each picture for a folder.

    None for a local root, where files are read to be known. Raises DataError and OSError as `local_video` does.
    """
    if not _remote(root):
        return None
    _, objects = _objects(_filesystem(), root, video)
    named = [[PurePosixPath(entry["name"]).name, entry["ETag"].strip('"'), entry["size"]] for entry in objects]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def _remote(root: str) -> bool:
    if "://" in root and not root.startswith(_SCHEME):
        raise video_error(f"a videos folder {root!r:.100}", "give a local folder or s3://bucket/prefix")
    return root.startswith(_SCHEME)


def _parts(video: str) -> tuple[str, ...]:
    """The names on the way from the root to the video. Raises DataError for a way that could lead out of it."""
    parts = PurePosixPath(video).parts
    if "://" in video or not parts or parts[0].startswith("/") or ".." in parts:
        where = f"{video!r:.200}: give the path under the videos folder, without '..' or a URL"
        raise video_error("not a relative path", where)
    return parts


def _filesystem() -> Any:
    settings = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return _connected(os.getpid(), tuple(settings))


@lru_cache(maxsize=1)
def _connected(process: int, settings: tuple[tuple[str, str], ...]) -> Any:
    """Made once, since it takes half a second; and again when endpoint or credentials change, or after a fork."""
    # Imported here: botocore takes another half, and local files do without.
    import fsspec

    return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)  # listings grow stale


def _objects(fs: Any, root: str, video: str) -> tuple[bool, list[dict[str, Any]]]:
    """Whether the video is a folder, and its object or those of its pictures, in the order of their names."""
    key = "/".join([root.removeprefix(_SCHEME).rstrip("/"), *_parts(video)])
    where = f"{video!r:.200}"
    try:
        entry = fs.info(key)
        folder = entry["type"] == "directory"
        inside = fs.find(key, maxdepth=1, detail=True).values() if folder else [entry]
    except FileNotFoundError as error:
        raise video_error("no such object", f"{where} was looked for under {root}") from error
    except ValueError as error:
        raise video_error("not a usable path", f"{where}: {error}") from error
    except Exception as error:  # botocore's and aiohttp's errors have no ancestor in common
        raise _unreachable(key, error) from error
    found = [one for one in inside if not folder or PurePosixPath(one["name"]).suffix.lower() in SUFFIXES]
    # S3 has no folders and so no way out of one; a key read as something else (`?versionId=`) shows here.
    if any(one["name"] != key and not one["name"].startswith(f"{key}/") for one in found):
        raise video_error("outside the videos folder", f"{where}: S3 lists it as {found[0]['name']!r:.200}")
    if any(len(PurePosixPath(one["name"]).name.encode()) > _MAX_NAME_BYTES for one in found):
        raise video_error("too long a name", f"{where}: a file name may have {_MAX_NAME_BYTES} bytes")
    check_frames(len(found))
    if (size := sum(one["size"] for one in found)) > MAX_VIDEO_BYTES:
        raise video_error(f"{size} bytes", f"a video may have {MAX_VIDEO_BYTES}: write it with a lower bit rate")
    return folder, sorted(found, key=lambda one: str(one["name"]))


def _fetch(root: str, video: str, scratch: Path) -> Path:
    fs = _filesystem()
    folder, objects = _objects(fs, root, video)
    keys = [one["name"] for one in objects]
    files = [scratch / PurePosixPath(key).name for key in keys]
    try:
        # Two lists: nothing in a name is expanded as a pattern, and pictures are fetched side by side.
        fs.get(keys, [str(file) for file in files])
    except FileNotFoundError as error:
        raise video_error("no such object", f"{video!r:.200} went away from {root} while it was fetched") from error
    except Exception as error:
        raise _unreachable(f"{root}/{video}", error) from error
    if folder:
        return scratch
    refuse_playlist(files[0])
    return files[0]


def _unreachable(what: str, error: Exception) -> Exception:
    if isinstance(error, MemoryError):
        return error
    return OSError(f"s3://{what.removeprefix(_SCHEME)}: {type(error).__name__}: {error} ({s3_advice(error)})")
