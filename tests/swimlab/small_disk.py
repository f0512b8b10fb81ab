"""A real disk of a few MB that can be filled, for tests of what happens when there is no room."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class SmallDisk:
    """A tmpfs at `folder`. `fill` leaves no room, `free` gives all back but what others have written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filling = folder / "filling"

    def fill(self, leave_bytes: int = 0) -> None:
        free_bytes = self.free_bytes()
        with self._filling.open("ab", buffering=0) as file, suppress(OSError):  # the last write meets the end
            while (left := self.free_bytes() - leave_bytes) > 0:
                file.write(bytes(min(left, 2**20)))
        assert self.free_bytes() < max(free_bytes, 1)

    def free(self) -> None:
        self._filling.unlink()

    def free_bytes(self) -> int:
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[SmallDisk]:
    """Mounts one; skips the test where this process may not mount (it is not root, or in a container)."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
