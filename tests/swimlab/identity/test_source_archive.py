"""An archive that `archive` did not write is refused before anything of it reaches the disk."""

import gzip
import io
import tarfile
from collections.abc import Callable

import pytest

from swim import recipes
from swimlab.identity import naming, source_archive
from swimlab.identity.source_archive import archived_hashes, members, uncovered
from swimlab.identity.source_closure import IdentityError

RECIPE = recipes.tiny()


def tar(*entries: tuple[str, bytes] | tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=form) as target:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                target.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                target.addfile(info, io.BytesIO(entry[1]))
    return buffer.getvalue()


def special(kind: bytes, name: str = "swim/x", target: str = "/etc/passwd") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def cut() -> bytes:
    whole = gzip.decompress(tar(("swim/a.py", b"a = 1\n" * 1000)))
    return gzip.compress(whole[:1000])


def sparse() -> bytes:
    """512 bytes that say that they are 8 GiB."""
    info = tarfile.TarInfo("swim/a.py")
    info.size = 0
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**33)}
    return tar(info)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "no gzip": (lambda: b"hello", "not a source archive"),
    "empty": (lambda: b"", "not a source archive"),
    "cut gzip": (lambda: tar(("swim/a.py", b"a = 1"))[:-20], "not a source archive"),
    "cut tar": (cut, "not a source archive|cut off"),
    "parent folder": (lambda: tar(("swim/../../evil.py", b"")), "no path in swim/"),
    "absolute": (lambda: tar(("/tmp/evil.py", b"")), "no path in swim/"),
    "another package": (lambda: tar(("torch/__init__.py", b"")), "no path in swim/"),
    "top level": (lambda: tar(("sitecustomize.py", b"")), "no path in swim/"),
    "hidden": (lambda: tar(("swim/.git/config", b"")), "no path in swim/"),
    "doubled slash": (lambda: tar(("swim//a.py", b"")), "no path in swim/"),
    "backslash": (lambda: tar(("swim/..\\a.py", b"")), "no path in swim/"),
    "escape codes": (lambda: tar(("swim/\x1b[2J.py", b"")), r"'swim/\\x1b"),
    "long name": (lambda: tar((f"swim/{'x' * 5000}.py", b"")), "no path in swim/"),
    "symlink": (lambda: tar(special(tarfile.SYMTYPE)), "no regular file"),
    "symlink as folder": (
        lambda: tar(special(tarfile.SYMTYPE, "swim/d", "/tmp"), ("swim/d/evil.py", b"")),
        "no regular file",
    ),
    "hard link": (lambda: tar(special(tarfile.LNKTYPE)), "no regular file"),
    "device": (lambda: tar(special(tarfile.CHRTYPE)), "no regular file"),
    "pipe": (lambda: tar(special(tarfile.FIFOTYPE)), "no regular file"),
    "folder": (lambda: tar(special(tarfile.DIRTYPE)), "no regular file"),
    "sparse": (sparse, "no regular file"),
    "twice": (lambda: tar(("swim/a.py", b"a = 1"), ("swim/a.py", b"a = 2")), "there twice"),
    "twice but for case": (lambda: tar(("swim/a.py", b""), ("swim/A.py", b"")), "there twice"),
    "package beside module": (lambda: tar(("swim/a.py", b""), ("swim/a/__init__.py", b"")), "there twice"),
    "bomb": (lambda: tar(("swim/a.txt", bytes(200_000_000))), "larger than 34 MB"),
    "many": (lambda: tar(*((f"swim/a{i}.py", b"") for i in range(2001))), "more than 2000 files"),
    "large": (lambda: bytes(17 * 2**20), "larger than 17 MB"),
    "names of names": (
        lambda: gzip.compress(gzip.decompress(tar(special(tarfile.GNUTYPE_LONGNAME)))[:512] * 3000),
        "not a source archive",
    ),
}


@pytest.mark.fault(
    injection="hostile source archives: traversal, links, devices, bombs, cut ones",
    symptom="files outside the folder, a full disk, a raw traceback",
    expected="error names the member and why",
    reference="F17",
)
@pytest.mark.parametrize(("make", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_archive_is_refused_with_its_reason(make: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(IdentityError, match=reason):
        members(make())


@pytest.mark.fault(
    injection="a module of a source archive is no Python, or nested 100,000 deep",
    symptom="the interpreter crashes or a raw SyntaxError",
    expected="error says that it is no source archive",
)
@pytest.mark.parametrize("code", [b"def f(:", b"a = '\x00'", b"(" * 100_000, b"\xff = 1"])
def test_a_module_that_cannot_be_parsed_is_named_as_such(code: bytes) -> None:
    with pytest.raises(IdentityError, match="not a source archive"):
        archived_hashes(tar(("swim/a.py", code)))


def test_our_own_archive_is_read() -> None:
    packed = naming.source_archive(RECIPE)
    assert archived_hashes(packed) == naming.code_modules(RECIPE)
    assert sum(map(len, members(packed).values())) < source_archive.MOST_BYTES / 20


def test_every_member_is_accounted_for() -> None:
    files = members(naming.source_archive(RECIPE))
    fingerprint = naming.code_fingerprint(RECIPE)
    schemas = uncovered(files, fingerprint)
    names = ("recipe", "frozen", "data_config", "optim_config", "outputs")
    assert schemas == {f"swim/{name}.py" for name in names}
    with pytest.raises(IdentityError, match=fingerprint):
        uncovered(files | {"swim/more.py": b"import os"}, fingerprint)
    with pytest.raises(IdentityError, match=fingerprint):
        uncovered(files | {"swim/more.so": b"\x7fELF"}, fingerprint)
    with pytest.raises(IdentityError, match=fingerprint):
        uncovered(files | {"swim/train.py": files["swim/train.py"] + b"\nprint(1)\n"}, fingerprint)
    with pytest.raises(IdentityError, match=fingerprint):
        uncovered({name: data for name, data in files.items() if name != "swim/train.py"}, fingerprint)
    hidden = b"# coding: utf-7\n#+AAo-import os\n" + files["swim/train.py"]
    with pytest.raises(IdentityError, match=f"{fingerprint}|utf7"):  # a comment to us, code to Python
        uncovered(files | {"swim/train.py": hidden}, fingerprint)


def test_an_archive_from_before_schemas_were_left_out_is_covered_whole() -> None:
    files = members(naming.source_archive(RECIPE))
    fingerprint = source_archive.fingerprint(dict(sorted(source_archive._hashes(files).items())))
    assert uncovered(files, fingerprint) == set()
    with pytest.raises(IdentityError, match=fingerprint):
        uncovered(files | {"swim/recipe.py": files["swim/recipe.py"] + b"\nprint(1)\n"}, fingerprint)
