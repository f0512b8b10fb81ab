"""Stores and command lines for the faults of users: what is broken is broken for real, and what is seen is what a
command prints, or what the public face of the store answers."""

import ctypes
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_kit import FILES
from store_kit import committed, plausible_record

import nano
from swimlab import __main__
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import SweepStore


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, of this test alone: gc looks into it for those of killed processes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> SweepStore:
    """Three trials with files, committed by a process that has ended, and compacted: the usual state of a store."""
    store = SweepStore(str(tmp_path / "store"))
    child = FORK.Process(target=_commit_three, args=(store,))
    child.start()
    child.join()
    assert child.exitcode == 0
    write_tables(store)
    return store


def _commit_three(store: SweepStore) -> None:
    recipe = nano.recipe(base=False).model_dump(mode="json")
    for number in range(3):
        about = {"metrics": {"attention.ap": (number + 1) / 8}, "recipe": recipe, "recipe_name": f"r{number}"}
        committed(store, plausible_record, f"t{number}", FILES, **about)


@pytest.fixture
def swimlab(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs `swimlab ARGV`: its exit code, and what it printed with single spaces."""

    def run(*argv: str) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            __main__.main(argv)
        printed = capsys.readouterr()
        return int(ended.value.code or 0), " ".join((printed.out + printed.err).split())

    return run


FORK = multiprocessing.get_context("fork")
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1 << 1, 1 << 2
_VERSION_3 = 0x20080522


@pytest.fixture
def bound_by_rights() -> Iterator[None]:
    """Root passes the rights of files by: for this test its thread does without that capability (capset(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0
    effective = sets[0]
    sets[0] &= ~(_DAC_OVERRIDE | _DAC_READ_SEARCH)
    assert libc.capset(header, sets) == 0
    yield
    sets[0] = effective
    assert libc.capset(header, sets) == 0
