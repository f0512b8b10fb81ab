"""Objects under a prefix, on local disk or S3: create-only writes, replaced writes, reads, one flat listing.

Create-only is the one primitive that the store's protocol rests on. fsspec's local `mode="create"` tests and then
writes (two processes both "won" 58 times of 60), hence a hard link on local disk; s3fs sends `If-None-Match: *`.
"""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import fsspec

_TEMPORARY = ".tmp-"


class StoreError(Exception):
    """The store cannot be used, or what lies in it is not what was committed. Says what to do."""


class Backend(Protocol):
    """Paths are POSIX, relative to `uri`. `read`, `fetch` raise FileNotFoundError; everything else is a StoreError."""

    uri: str

    def create(self, path: str, data: bytes | Path) -> bool:
        """Write bytes, or a local file's content, unless the path exists: then False, and nothing changes."""

    def replace(self, path: str, data: bytes) -> None:
        """Write atomically, whatever was there."""

    def read(self, path: str) -> bytes: ...

    def open(self, path: str) -> BinaryIO:
        """A file to seek and read in: only what is asked for is fetched."""

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Read existing files, concurrently where that pays."""

    def fetch(self, path: str, dest: Path) -> None:
        """Copy a file to local disk."""

    def exists(self, path: str) -> bool: ...

    def files(self, folder: str) -> list[str]:
        """Every file below a folder, sorted; empty when there is no such folder."""

    def delete(self, path: str) -> None: ...


def backend_for(uri: str) -> Backend:
    """Local folder (a path or file://) or s3://bucket/prefix. Raises StoreError for any other scheme."""
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return S3Backend(uri)
    if parts.scheme in ("", "file"):
        return LocalBackend(parts.path if parts.scheme else uri)
    raise StoreError(
        f"{uri}: no create-only write is known for {parts.scheme}://; use a local folder or s3://bucket/prefix"
    )


class LocalBackend:
    """A folder. Create-only = write a temporary neighbour, fsync, hard-link it to its name."""

    def __init__(self, folder: str | Path) -> None:
        self.root = Path(folder).expanduser().absolute()
        self.uri = str(self.root)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, StoreError):
            raise
        except OSError as error:
            raise StoreError(
                f"store {self.uri}: {error}; choose a folder you can write to, with free space, on a filesystem with "
                "hard links"
            ) from error

    @contextmanager
    def _temporary(self, path: str, data: bytes | Path) -> Iterator[tuple[Path, Path]]:
        """A synced temporary file beside its target; gone afterwards."""
        target = self.root / path
        with self._explained():
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.parent / f"{_TEMPORARY}{uuid4().hex}"
            try:
                with temporary.open("xb") as file:
                    if isinstance(data, Path):
                        with data.open("rb") as source:
                            shutil.copyfileobj(source, file, 1 << 20)
                    else:
                        file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                yield temporary, target
                _sync_folder(target.parent)
            finally:
                temporary.unlink(missing_ok=True)

    def create(self, path: str, data: bytes | Path) -> bool:
        with self._temporary(path, data) as (temporary, target):
            try:
                os.link(temporary, target)
            except FileExistsError:
                # On NFS a link may succeed and its answer get lost: the second name of our own inode proves it.
                return temporary.stat().st_nlink == 2
        return True

    def replace(self, path: str, data: bytes) -> None:
        with self._temporary(path, data) as (temporary, target):
            os.replace(temporary, target)

    def read(self, path: str) -> bytes:
        with self._explained():
            return (self.root / path).read_bytes()

    def open(self, path: str) -> BinaryIO:
        with self._explained():
            return (self.root / path).open("rb")

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        return {path: self.read(path) for path in paths}

    def fetch(self, path: str, dest: Path) -> None:
        with self._explained():
            shutil.copyfile(self.root / path, dest)

    def exists(self, path: str) -> bool:
        with self._explained():
            return (self.root / path).is_file()

    def files(self, folder: str) -> list[str]:
        with self._explained():
            return sorted(
                Path(parent, name).relative_to(self.root).as_posix()
                for parent, _, names in os.walk(self.root / folder)
                for name in names
                if not name.startswith(_TEMPORARY)
            )

    def delete(self, path: str) -> None:
        with self._explained():
            (self.root / path).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """A new name survives a power cut only after its folder was synced (not possible on Windows)."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class S3Backend:
    """s3://bucket/prefix through s3fs. Credentials and AWS_ENDPOINT_URL come from where every AWS tool takes them."""

    def __init__(self, uri: str) -> None:
        if not urlsplit(uri).netloc:
            raise StoreError(f"{uri}: no bucket; write s3://bucket/prefix")
        self.uri = uri.rstrip("/")
        self.root = self.uri.removeprefix("s3://")
        # No instance cache: it would outlive a change of endpoint or credentials.
        self.fs: Any = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(error, FileNotFoundError) and _s3_code(error) != "NoSuchBucket":
                raise
            message = f"store {self.uri}: {type(error).__name__}: {error}; {_s3_advice(error)}"
            raise StoreError(message) from error

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}"

    def create(self, path: str, data: bytes | Path) -> bool:
        with self._explained():
            for wait_s in (0.1, 0.2, 0.4, 0.8, None):
                try:
                    if isinstance(data, Path):
                        self.fs.put_file(str(data), self._path(path), mode="create")
                    else:
                        self.fs.pipe_file(self._path(path), data, mode="create")
                    return True
                except Exception as error:
                    if _s3_code(error) in ("PreconditionFailed", "412"):
                        return False
                    # 409: another conditional write was in flight, and neither may have landed; S3 wants a new try.
                    if _s3_code(error) not in ("ConditionalRequestConflict", "409") or wait_s is None:
                        raise
                    time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def replace(self, path: str, data: bytes) -> None:
        with self._explained():
            self.fs.pipe_file(self._path(path), data)

    def read(self, path: str) -> bytes:
        with self._explained():
            data: bytes = self.fs.cat_file(self._path(path))
            return data

    def open(self, path: str) -> BinaryIO:
        with self._explained():
            file: BinaryIO = self.fs.open(self._path(path), "rb", block_size=2**20)
            return file

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        if not paths:
            return {}
        with self._explained():
            found = self.fs.cat([self._path(path) for path in paths])
        # fsspec answers a list of one name with bare bytes.
        return {paths[0]: found} if isinstance(found, bytes) else {p: found[self._path(p)] for p in paths}

    def fetch(self, path: str, dest: Path) -> None:
        with self._explained():
            self.fs.get_file(self._path(path), str(dest))

    def exists(self, path: str) -> bool:
        with self._explained():
            try:
                return bool(self.fs.info(self._path(path))["type"] == "file")
            except FileNotFoundError as error:
                if _s3_code(error) == "NoSuchBucket":
                    raise
                return False

    def files(self, folder: str) -> list[str]:
        with self._explained():
            found = self.fs.find(self._path(folder))
        return sorted(path.removeprefix(f"{self.root}/") for path in found)

    def delete(self, path: str) -> None:
        with self._explained():
            self.fs.rm_file(self._path(path))


def _s3_code(error: BaseException) -> str:
    """The server's error code; s3fs turns its answer into an OSError and keeps the original as the cause."""
    response: dict[str, Any] = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    code: str = response.get("Error", {}).get("Code", "")
    return code


def _s3_advice(error: Exception) -> str:
    kind = type(error).__name__
    if _s3_code(error) == "NoSuchBucket":
        return "create the bucket, or check its name and AWS_ENDPOINT_URL"
    if "Credentials" in kind:
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or an instance role"
    if isinstance(error, PermissionError):
        return "these credentials need s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject on the prefix"
    if "Connect" in kind or "Endpoint" in kind or "Timeout" in kind:
        return "check AWS_ENDPOINT_URL and the network"
    return "check the bucket, AWS_ENDPOINT_URL and the credentials"
