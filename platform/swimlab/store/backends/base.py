"""What a store needs of the place where its objects lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Protocol


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
        """Read those of the files that are there, concurrently where that pays."""

    def fetch(self, path: str, dest: Path) -> None:
        """Copy a file to local disk."""

    def exists(self, path: str) -> bool: ...

    def files(self, folder: str) -> list[str]:
        """Every file below a folder, sorted; empty when there is no such folder."""

    def sizes(self, folder: str) -> dict[str, int]:
        """The same with the size of each in bytes."""

    def leftovers(self, older_than_s: float) -> dict[str, int]:
        """What writers that were killed left behind, which no listing shows: path → bytes."""

    def delete(self, path: str) -> None:
        """A file that is not there is deleted already."""

    def delete_many(self, paths: Sequence[str]) -> None: ...
