"""Local files and s3:// objects, opened for reading, whole or a range of bytes.

All failures (no such object, no credentials, a broken connection) are DataErrors that name the file and say what to do.
Credentials, region and endpoint are configured as for every AWS tool.
"""

from __future__ import annotations

import functools
import io
import os
from typing import Any

from swim.data.types import DataError

# The size of one S3 request: its latency (some 50 ms) is then small against the transfer.
BLOCK_BYTES = 8 * 2**20
_LOCAL_BUFFER_BYTES = 2**17
_SCHEME = "s3://"


def open_range(name: str, start: int = 0, end: int | None = None, *, read_ahead: bool = False) -> io.BufferedReader:
    """The bytes [start, end) of a local file or an s3://bucket/key, as a file positioned at `start`.

    Positions count from the beginning of the whole file; reading ends at `end`. Requests to S3 are for blocks of
    `BLOCK_BYTES` or for the range, whichever is smaller. With `read_ahead` the next block is fetched while one is read,
    for a file read from front to back. Raises DataError, here or while reading.
    """
    remote = name.startswith(_SCHEME)
    try:
        file: Any = _s3_file(name, read_ahead) if remote else io.FileIO(name)
        size = file.seek(0, io.SEEK_END)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # botocore's and aiohttp's errors have no ancestor in common
        raise unreadable(name, error) from error
    end = size if end is None else min(end, size)
    buffer = min(BLOCK_BYTES, max(end - start, 1)) if remote else _LOCAL_BUFFER_BYTES
    return io.BufferedReader(_ByteRange(file, name, start, end), buffer)


class _ByteRange(io.RawIOBase):
    """The bytes up to `end` of a file, from `start` on. Raises DataError where the file cannot be read."""

    def __init__(self, file: Any, name: str, start: int, end: int) -> None:
        self._file, self._name, self._at, self._end = file, name, start, end

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._end - self._at)
        if size <= 0:
            return 0
        try:
            self._file.seek(self._at)
            block = self._file.read(size)
        except MemoryError:
            raise
        except Exception as error:
            raise unreadable(self._name, error) from error
        buffer[: len(block)] = block
        self._at += len(block)
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def s3_filesystem() -> Any:
    """fsspec's S3 for the current AWS_ variables. Cached in the process, since creating one takes 0.2 s."""
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    return _s3_filesystem(os.getpid(), tuple(variables))


@functools.lru_cache(maxsize=1)
def _s3_filesystem(pid: int, variables: tuple[tuple[str, str], ...]) -> Any:
    # Imported here: botocore takes half a second, and local files do not need it.
    import fsspec

    # No cache of fsspec: its instances ignore a change of endpoint or credentials, and its listings become outdated.
    return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)


def _s3_file(name: str, read_ahead: bool) -> Any:
    bucket, _, key = name.removeprefix(_SCHEME).partition("/")
    if not bucket or not key:
        missing = "no key" if bucket else "no bucket"
        raise DataError(missing, field="file", hint="write s3://bucket/path/of/the/file", file=name)
    cache = {"cache_type": "background", "cache_options": {"maxblocks": 4}} if read_ahead else {"cache_type": "none"}
    return s3_filesystem().open(f"{bucket}/{key}", "rb", block_size=BLOCK_BYTES, **cache)


def unreadable(name: str, error: Exception) -> DataError:
    """The error for a file or object that could not be read, with what to do."""
    cause = (error.strerror if isinstance(error, OSError) else "") or f"{type(error).__name__}: {error}"
    hint = s3_advice(error) if name.startswith(_SCHEME) else "check the path and its permissions"
    return DataError(f"cannot be read: {cause}", field="file", hint=hint, file=name)


def s3_advice(error: Exception) -> str:
    """What a user can do about an error of S3."""
    kind = type(error).__name__
    if "Credentials" in kind:
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or an instance role"
    if kind == "FileExpired":
        return "the object was replaced while it was read: start again"
    if isinstance(error, FileNotFoundError):
        return "no such object or bucket: check the name and AWS_ENDPOINT_URL"
    if isinstance(error, PermissionError):
        return "these credentials need s3:GetObject on it, and s3:ListBucket: without, a missing object looks the same"
    if any(word in kind for word in ("Connect", "Endpoint", "Timeout", "Client")):
        return "check AWS_ENDPOINT_URL and the network"
    return "check the bucket, the key, AWS_ENDPOINT_URL and the credentials"
