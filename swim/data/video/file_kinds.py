"""Files that are no video, known by their first bytes: each is refused with what to do about it.

FFmpeg would say "Invalid data" of most of them, which sounds as if the file were damaged.
"""

from __future__ import annotations

import re
from pathlib import Path

from swim.data.video.frame_choice import video_error

# Containers are detected by their content, so these names are rejected as well as these beginnings. The decoder's list
# of formats has no playlist either: this check gives the clearer error.
_PLAYLISTS = (".m3u", ".m3u8", ".mpd", ".concat", ".ffconcat", ".ffcat", ".sdp", ".pls", ".asx", ".ism", ".xspf")
_TO_MP4 = "write it as mp4: ffmpeg -i {name} {stem}.mp4"
_TO_FOLDER = "put it into a folder of its own, as .jpg, .png or .webp, and name the folder"
_SOUND = "give the file that has the pictures, or remove the row"
_DOWNLOAD = "the download went wrong: download it again"
_UNPACK = "unpack it, and give the video itself"

_KINDS: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(beginning, re.DOTALL), kind, hint)
    for beginning, kind, hint in (
        (rb"#EXTM3U|ffconcat|<\?xml|<MPD|v=0|\[playlist\]|<asx|<ASX", "a playlist", "give the video itself"),
        (rb"GIF8[79]a", "a GIF", _TO_MP4),
        (rb"\x89PNG\r\n\x1a\n.{4}IHDR.{21}acTL", "an animated PNG", _TO_MP4),
        (rb"RIFF.{4}WEBP", "a WebP", f"{_TO_FOLDER}; if it moves, its frames as .png"),
        (rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|BM.{4}\0{4}|II\*\0|MM\0\*|.{4}(?:jP|JXL) ", "a picture", _TO_FOLDER),
        (rb".{4}ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1|avif|avis)", "a HEIF or AVIF picture", _TO_FOLDER),
        (rb"ID3|fLaC|RIFF.{4}WAVE|\xff[\xe2-\xfd]", "sound", _SOUND),
        (rb"(?i:<!doctype html|<html)", "a web page", _DOWNLOAD),
        (rb"version https://git-lfs", "a pointer of Git LFS", "fetch the file itself: git lfs pull"),
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", "an archive", _UNPACK),
    )
)


def refuse_no_video(path: Path) -> None:
    """Raises DataError for a file that is a playlist (which names other files), a picture, sound or no media at all, by
    its first bytes or the ending of a playlist."""
    try:
        with path.open("rb") as file:
            beginning = file.read(64)
    except OSError as error:
        raise video_error(f"cannot be read: {error.strerror}", f"{path.name!r:.200}: check its permissions") from error
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if path.suffix.lower() in _PLAYLISTS:
        text = b"#EXTM3U"
    for pattern, kind, hint in _KINDS:
        if pattern.match(beginning) or pattern.match(text):
            names = {"name": path.name[:100], "stem": path.stem[:100]}
            raise video_error(f"{kind}, not a video", f"{path.name!r:.200}: {hint.format(**names)}")
