"""Temporary folders on local disk, which say whose they are: a process that is killed leaves its own behind, with
checkpoints of up to tens of GB, and garbage collection can tell them from those in use."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swimlab.store.leases import Owner
from swimlab.store.sealed_json import sealed, unsealed

_PREFIX = "swimlab-"
_OWNER = "owner.json"


@contextmanager
def scratch_folder(purpose: str) -> Iterator[Path]:
    """An empty folder for the `with` block, below the system's folder for temporary files."""
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{purpose}-") as folder:
        Path(folder, _OWNER).write_bytes(sealed(Owner.current().model_dump(mode="json")))
        files = Path(folder, "files")
        files.mkdir()
        yield files


@dataclass(frozen=True)
class Abandoned:
    """A scratch folder whose process has exited."""

    path: Path
    size_bytes: int
    owner: Owner


def abandoned() -> list[Abandoned]:
    """The scratch folders of this machine and user whose process has exited; none that may be in use."""
    me = Owner.current()
    with os.scandir(tempfile.gettempdir()) as listed:
        # No links: anybody may put one into a folder that all users share.
        entries = [entry for entry in listed if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False)]
    folders = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        try:
            if entry.stat(follow_symlinks=False).st_uid != os.getuid():
                continue
            owner = Owner.model_validate(unsealed(json.loads(Path(entry.path, _OWNER).read_bytes()), required=False))
        # Of another program, of a process that is just beginning or ending, or damaged.
        except (OSError, ValueError, AttributeError):
            continue
        if owner.has_exited(me):
            folders.append(Abandoned(Path(entry.path), _size_bytes(Path(entry.path)), owner))
    return folders


def remove(folder: Abandoned) -> None:
    """Delete an abandoned folder. Raises OSError when it cannot be deleted."""
    shutil.rmtree(folder.path)


def _size_bytes(folder: Path) -> int:
    # A folder that cannot be listed only makes the size shown too small.
    return sum(os.lstat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names)
