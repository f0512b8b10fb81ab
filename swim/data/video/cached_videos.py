"""Videos that annotation files carry as bytes, kept as files: decoders need one to seek in.

A file's name is the sha256 of its bytes, so it is written once, and no row can choose where. The folder is
`swim/videos` in `$XDG_CACHE_HOME` (`~/.cache` without it) and may be deleted at any time but during a run.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from swim.data.types import DataError

# What a sample's `video` is instead of a path under the videos folder.
_CACHED = re.compile(r"cached:([0-9a-f]{64})")


def cache_folder() -> Path:
    """The folder of the files."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swim" / "videos"


def keep_video(content: bytes) -> str:
    """Writes the bytes to the cache, unless it has them, and returns what names them there. Raises DataError (field
    "video") where the cache cannot be written."""
    digest = hashlib.sha256(content).hexdigest()
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / digest
        if not (path.is_file() and path.stat().st_size == len(content)):
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".part-", delete=False) as file:
                file.write(content)
            os.replace(file.name, path)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        hint = f"videos given as bytes are kept in {folder}: set XDG_CACHE_HOME to a folder with room"
        raise DataError(f"cannot be written: {error}", field="video", hint=hint) from error
    return f"cached:{digest}"


def cached_video(video: str) -> tuple[Path, str] | None:
    """(folder, name in it) of a video that `keep_video` has named; None for any other."""
    named = _CACHED.fullmatch(video)
    return (cache_folder(), named[1]) if named else None
