"""The store's backend on local disk: create-only writes, atomic replacement, reads and flat listings.

The store's protocol needs only one atomic primitive, the create-only write. fsspec's local `mode="create"` tests, then
writes (two processes both "won" in 58 of 60 trials), so files are created with a hard link instead.
"""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from swimlab.store.errors import StoreError

_TEMPORARY = ".tmp-"
_CHOOSE = "choose a folder you can write to, with free space, on a filesystem with hard links"
_CHECK = "check the disk, and that you may read and write everything below the store"


class LocalBackend:
    """A folder. Create-only = write a temporary neighbour, fsync, hard-link it to its name."""

    def __init__(self, folder: str | Path) -> None:
        self.root = Path(folder).expanduser().absolute()
        self.uri = str(self.root)

    @property
    def unreachable_s(self) -> float:
        return float("-inf")

    @contextmanager
    def _explained(self, advice: str = _CHECK) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, StoreError):
            raise
        except OSError as error:
            raise StoreError(f"store {self.uri}: {error}; {advice}") from error

    @contextmanager
    def _temporary(self, path: str, data: bytes | Path) -> Iterator[tuple[Path, Path]]:
        """A temporary file beside its target, flushed to disk; it is removed on exit."""
        target = self.root / path
        with self._explained(_CHOOSE):
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
                # On NFS a link may succeed although its reply is lost; then our inode has two names.
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
        contents = {}
        for path in paths:
            with suppress(FileNotFoundError):
                contents[path] = self.read(path)
        return contents

    def fetch(self, path: str, dest: Path) -> None:
        with self._explained():
            shutil.copyfile(self.root / path, dest)

    def exists(self, path: str) -> bool:
        try:
            # Not Path.is_file, which may answer no when the disk does not answer.
            with self._explained():
                return stat.S_ISREG((self.root / path).stat().st_mode)
        except FileNotFoundError:
            return False

    def files(self, folder: str) -> list[str]:
        return [path for path in self._walk(folder) if not _is_temporary(path)]

    def sizes(self, folder: str) -> dict[str, int]:
        sizes = {}
        for path in self.files(folder):
            with suppress(FileNotFoundError), self._explained():
                sizes[path] = (self.root / path).stat().st_size
        return sizes

    def leftovers(self, older_than_s: float) -> dict[str, int]:
        sizes = {}
        with self._temporary("now", b"") as (now, _):
            now_s = now.stat().st_mtime  # by the disk's own clock
            for folder in sorted(entry.name for entry in self.root.iterdir() if entry.is_dir()):
                # A folder that cannot be listed (lost+found) only hides what might be freed.
                with suppress(StoreError):
                    for path in filter(_is_temporary, self._walk(folder)):
                        with suppress(FileNotFoundError), self._explained():
                            status = (self.root / path).stat()
                            if now_s - status.st_mtime >= older_than_s:
                                sizes[path] = status.st_size
        sizes.pop(now.name, None)
        return sizes

    def _walk(self, folder: str) -> list[str]:
        with self._explained():
            return sorted(_files_below(self.root / folder, f"{folder}/" if folder else ""))

    def delete(self, path: str) -> None:
        with self._explained():
            (self.root / path).unlink(missing_ok=True)

    def delete_many(self, paths: Sequence[str]) -> None:
        for path in paths:
            self.delete(path)


def _files_below(folder: str | Path, name: str) -> Iterator[str]:
    """Every file below a folder whose path in the store, with a slash behind it, is `name`; none when it does not
    exist. Any other error is raised: os.walk would take a folder that cannot be read for an empty one, and what a
    listing lacks counts as deleted. Names are joined as strings: a Path for each costs a store of 5,000 trials 2 s."""
    try:
        with os.scandir(folder) as listed:
            entries = list(listed)
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(entry.path, f"{name}{entry.name}/")
        elif not (entry.is_symlink() and entry.is_dir()):
            yield f"{name}{entry.name}"


def _is_temporary(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_TEMPORARY)


def _sync_folder(folder: Path) -> None:
    """Flush a folder to disk, so that new names in it survive a power cut (Windows does not support it)."""
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
