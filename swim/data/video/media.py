"""The location of a row's video: a file or a folder of pictures under a local root, or objects under an s3:// prefix.

Rows may be hostile. Their paths must be a regular file or a folder under the root, and no playlist, which would name
other files (`file_kinds`).
"""

from __future__ import annotations

import hashlib
import json
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from swim.data.storage import s3_advice, s3_filesystem
from swim.data.video.cached_videos import cached_video
from swim.data.video.file_kinds import refuse_no_video
from swim.data.video.frame_choice import video_error
from swim.data.video.frame_names import frame_names, is_frame
from swim.data.video.unicode_paths import on_disk, spellings

MAX_VIDEO_BYTES = 2**34  # a video from S3 is stored on a temporary disk
_SCHEME = "s3://"
_MAX_NAME_BYTES = 255  # of a local file; keys of S3 may have 1,024


@contextmanager
def local_video(root: str, video: str, scratch: Path | None = None) -> Iterator[Path]:
    """The file, or folder of pictures, that `video` names under `root`, a folder or s3://bucket/prefix.

    Objects on S3 are downloaded into a temporary folder under `scratch` (the system's, if None) and deleted on exit.
    Raises DataError (field "video") for a video that is missing, too large or outside the root; OSError when S3 cannot
    be reached, which is no error of the row. A video of the cache (`swim.data.video.cached_videos`) is under no root.
    """
    if cached := cached_video(video):
        root, video = str(cached[0]), cached[1]
    if not _is_remote(root):
        path = resolve_video(Path(root), video)
        try:
            yield path
        except OSError as error:
            raise video_error(f"cannot be read: {error.strerror}", f"{video!r:.200}: check its permissions") from error
        return
    with tempfile.TemporaryDirectory(prefix="swim-video-", dir=scratch, ignore_cleanup_errors=True) as folder:
        yield _download(root, video, Path(folder))


def resolve_video(root: Path, video: str) -> Path:
    """The file or folder `video` names under `root`. Raises DataError for a path outside it, also by a symlink."""
    _path_parts(video)
    quoted = f"{video!r:.200}"
    try:
        base = Path(root).resolve()
        path = on_disk(base, video).resolve()
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise video_error("no such file", f"{quoted} was looked for under the videos folder {root}") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise video_error("not a usable path", f"{quoted}: {error}") from error
    if base not in path.parents:
        raise video_error(
            "outside the videos folder", f"{quoted}: symlinks may not leave it; copy the file, or move the root"
        )
    if stat.S_ISDIR(mode):
        return path
    if not stat.S_ISREG(mode):  # a pipe or a device might never end
        raise video_error("neither a file nor a folder", f"{quoted} is a pipe, a device or a socket: copy the video")
    refuse_no_video(path)
    return path


def s3_version(root: str, video: str) -> str | None:
    """A hash that identifies a video on S3 without reading it: entity tags and sizes, of each picture for a folder.

    None for a local root, where the content of files identifies them. Raises DataError and OSError as `local_video`
    does.
    """
    if not _is_remote(root):
        return None
    _, objects = _list_objects(s3_filesystem(), root, video)
    named = [[PurePosixPath(entry["name"]).name, entry["ETag"].strip('"'), entry["size"]] for entry in objects]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def _is_remote(root: str) -> bool:
    if "://" in root and not root.startswith(_SCHEME):
        raise video_error(f"a videos folder {root!r:.100}", "give a local folder or s3://bucket/prefix")
    return root.startswith(_SCHEME)


def _path_parts(video: str) -> tuple[str, ...]:
    """The parts of the path from the root to the video. Raises DataError for a path that could leave the root."""
    parts = PurePosixPath(video).parts
    if "://" in video or not parts or parts[0].startswith("/") or ".." in parts:
        hint = f"{video!r:.200}: give the path under the videos folder, without '..' or a URL"
        raise video_error("not a relative path", hint)
    return parts


def _first_object(fs: Any, keys: list[str]) -> tuple[str, dict[str, Any]]:
    """The first of these keys that S3 has, and what it says about it. Raises FileNotFoundError if it has none."""
    for key in keys[:-1]:
        try:
            return key, fs.info(key)
        except FileNotFoundError:
            continue
    return keys[-1], fs.info(keys[-1])


def _list_objects(fs: Any, root: str, video: str) -> tuple[bool, list[dict[str, Any]]]:
    """Whether the video is a folder, and its object or those of its pictures, in the order of their names."""
    folder_key = root.removeprefix(_SCHEME).rstrip("/")
    keys = ["/".join([folder_key, *_path_parts(spelling)]) for spelling in spellings(video)]
    quoted = f"{video!r:.200}"
    try:
        key, entry = _first_object(fs, keys)
        folder = entry["type"] == "directory"
        inside = fs.find(key, maxdepth=1, detail=True).values() if folder else [entry]
    except FileNotFoundError as error:
        raise video_error("no such object", f"{quoted} was looked for under {root}") from error
    except ValueError as error:
        raise video_error("not a usable path", f"{quoted}: {error}") from error
    except Exception as error:  # botocore's and aiohttp's errors have no ancestor in common
        raise _s3_error(keys[0], error) from error
    objects = [item for item in inside if not folder or is_frame(PurePosixPath(item["name"]).name)]
    # S3 has no folders that a path could leave, but a key may be parsed as something else (`?versionId=`).
    if any(item["name"] != key and not item["name"].startswith(f"{key}/") for item in objects):
        raise video_error("outside the videos folder", f"{quoted}: S3 lists it as {objects[0]['name']!r:.200}")
    if any(len(PurePosixPath(item["name"]).name.encode()) > _MAX_NAME_BYTES for item in objects):
        raise video_error("too long a name", f"{quoted}: a file name may have {_MAX_NAME_BYTES} bytes")
    if folder:  # what is not downloaded could not be refused later
        frame_names(PurePosixPath(item["name"]).name for item in inside)
    if (size := sum(item["size"] for item in objects)) > MAX_VIDEO_BYTES:
        raise video_error(f"{size} bytes", f"a video may have {MAX_VIDEO_BYTES}: write it with a lower bit rate")
    return folder, sorted(objects, key=lambda item: str(item["name"]))


def _download(root: str, video: str, scratch: Path) -> Path:
    fs = s3_filesystem()
    folder, objects = _list_objects(fs, root, video)
    keys = [item["name"] for item in objects]
    files = [scratch / PurePosixPath(key).name for key in keys]
    try:
        # With two lists no name is expanded as a pattern, and pictures are downloaded concurrently.
        fs.get(keys, [str(file) for file in files])
    except FileNotFoundError as error:
        raise video_error(
            "no such object", f"{video!r:.200} was deleted from {root} while it was downloaded"
        ) from error
    except Exception as error:
        raise _s3_error(f"{root}/{video}", error) from error
    if folder:
        return scratch
    refuse_no_video(files[0])
    return files[0]


def _s3_error(key: str, error: Exception) -> Exception:
    if isinstance(error, MemoryError):
        return error
    return OSError(f"s3://{key.removeprefix(_SCHEME)}: {type(error).__name__}: {error} ({s3_advice(error)})")
