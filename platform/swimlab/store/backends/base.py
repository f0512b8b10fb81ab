"""The interface of a storage backend: where the objects of a store are kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol


class Backend(Protocol):
    """Paths are POSIX, relative to `uri`. `read`, `fetch` raise FileNotFoundError; everything else is a StoreError."""

    uri: str

    @property
    def unreachable_s(self) -> float:
        """When the store last did not answer a call of this process (monotonic clock); -inf for never."""

    def create(self, path: str, data: bytes | Path) -> bool:
        """Write bytes, or a local file's content, unless the path exists: then False, and nothing changes."""

    def replace(self, path: str, data: bytes) -> None:
        """Write atomically; an existing file is overwritten."""

    def read(self, path: str) -> bytes: ...

    def open(self, path: str) -> BinaryIO:
        """An open file that can seek; only the ranges that are read are fetched."""

    def read_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The contents of those files that exist, by path; object storage reads them concurrently."""

    def fetch(self, path: str, dest: Path) -> None:
        """Copy a file to local disk."""

    def exists(self, path: str) -> bool: ...

    def files(self, folder: str) -> list[str]:
        """Every file below a folder, sorted; empty when there is no such folder."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Every file below a folder with its size in bytes."""

    def leftovers(self, older_than_s: float) -> dict[str, int]:
        """Temporary files of writers that were killed, which `files` does not list: path → bytes."""

    def delete(self, path: str) -> None:
        """Delete a file. A missing file is no error."""

    def delete_many(self, paths: Sequence[str]) -> None: ...
