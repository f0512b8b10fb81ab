"""Archives of closures: how they are written, and how one is read that anybody may have put into a store.

Reading goes through memory and gives regular files with plain names only. No member is left to `tarfile` to unpack: its
`filter="data"` writes outside the folder on Python 3.11.7 and others.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path

from swim.code_roots import SCHEMAS
from swimlab.identity.source_closure import IdentityError, SourceFile, content_hash, fingerprint, module_of

# The archive of a trial holds 70 files, 0.25 MB, in 0.08 MB.
MOST_FILES = 2_000
MOST_BYTES = 32 * 2**20
MOST_PACKED_BYTES = 16 * 2**20
_NAME = re.compile(r"swim(/\w[\w .+@=-]*)+")
_MOST_NAME_CHARS = 200


def archive(files: Iterable[SourceFile]) -> bytes:
    """The files as a tar.gz whose bytes depend on names and contents only."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        # Sorted by the parts of the path, the order of the archives in existing stores.
        for file in sorted(files, key=lambda file: Path(file.path)):
            # A fresh TarInfo has no owner, no time and mode 0644.
            info = tarfile.TarInfo(file.path)
            info.size = len(file.data)
            tar.addfile(info, io.BytesIO(file.data))
    return buffer.getvalue()


def digest(packed: bytes) -> str:
    """Hash of an archive's bytes, which a record keeps."""
    return hashlib.sha256(packed).hexdigest()


def members(packed: bytes) -> dict[str, bytes]:
    """Path → content of the files in an `archive`. Raises IdentityError for anything that `archive` does not write:
    links, folders, devices, names outside `swim/` or twice, and more than MOST_FILES or MOST_BYTES."""
    files: dict[str, bytes] = {}
    names: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(_decompressed(packed)), mode="r:") as tar:
            for info in tar:
                if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.issparse():
                    raise IdentityError(f"not a source archive: {info.name!r:.200} is no regular file")
                if len(info.name) > _MOST_NAME_CHARS or not _NAME.fullmatch(info.name):
                    raise IdentityError(f"not a source archive: {info.name!r:.200} is no path in swim/")
                # Not told apart by every file system, and a package hides a module of its name.
                same = {info.name.casefold(), module_of(info.name).casefold()}
                if names & same:
                    raise IdentityError(f"not a source archive: {info.name!r} is there twice")
                names |= same
                if len(files) == MOST_FILES:
                    raise IdentityError(f"not a source archive: it holds more than {MOST_FILES} files")
                stream = tar.extractfile(info)
                data = stream.read() if stream else b""
                if len(data) != info.size:
                    raise IdentityError(f"not a source archive: {info.name!r} is cut off")
                files[info.name] = data
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError, zlib.error) as error:
        raise IdentityError(f"not a source archive: {error}") from error
    return files


def archived_hashes(packed: bytes) -> dict[str, str]:
    """`module_hashes` of the files in an `archive`, read without unpacking them to disk. Raises IdentityError for
    data that is no such archive."""
    return {name: value for name, value in sorted(_hashes(members(packed)).items()) if name not in SCHEMAS}


def uncovered(files: Mapping[str, bytes], expected: str) -> set[str]:
    """Paths of the schemas that a code fingerprint leaves out: none in an archive from before they were. Raises
    IdentityError where the `members` are not those of this fingerprint."""
    hashes = _hashes(files)
    schemas = sorted(name for name in hashes if name in SCHEMAS)
    # Any of them: a module may have become a schema after the archive was named.
    for number in range(len(schemas) + 1):
        for left_out in combinations(schemas, number):
            if fingerprint({name: value for name, value in sorted(hashes.items()) if name not in left_out}) == expected:
                return {path for path in files if path.endswith(".py") and module_of(path) in left_out}
    raise IdentityError(f"its files do not have the fingerprint {expected}")


def _decompressed(packed: bytes) -> bytes:
    if len(packed) > MOST_PACKED_BYTES:
        raise IdentityError(f"not a source archive: it is larger than {MOST_PACKED_BYTES / 1e6:.0f} MB")
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise IdentityError(f"not a source archive: unpacked it is larger than {MOST_BYTES / 1e6:.0f} MB")
    return data


def _hashes(files: Mapping[str, bytes]) -> dict[str, str]:
    try:
        return {module_of(p) if p.endswith(".py") else p: content_hash(data, p) for p, data in files.items()}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise IdentityError(f"not a source archive: {error}") from error
