"""Temporary folders of processes that were killed."""

import multiprocessing
import os
import signal
import tempfile
from pathlib import Path

import pytest
from store_kit import ended_owner

from swimlab.store import scratch
from swimlab.store.scratch import abandoned, scratch_folder

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _fill_and_wait(ready) -> None:
    with scratch_folder("train") as folder:
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "model").write_bytes(b"w" * 1000)
        ready.set()
        signal.pause()


def test_of_a_killed_process_is_found_with_its_size_and_removed(temporary):
    ready = FORK.Event()
    process = FORK.Process(target=_fill_and_wait, args=(ready,))
    process.start()
    assert ready.wait(60)
    assert abandoned() == [], "its process is alive"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (folder,) = abandoned()
    assert folder.path.name.startswith("swimlab-train-")
    assert folder.owner.pid == process.pid
    assert 1000 < folder.size_bytes < 2000
    scratch.remove(folder)
    assert list(temporary.iterdir()) == []


def test_one_whose_owner_cannot_be_read_stays(temporary):
    with scratch_folder("train") as folder:
        owner = folder.parent / "owner.json"
        whole = owner.read_text()
        ticks = f'"started_ticks": {scratch.Owner.current().started_ticks}'
        for damaged in (whole.replace(ticks, f"{ticks}1"), "[]", ""):
            assert damaged != whole
            owner.write_text(damaged)
            assert abandoned() == [], "its process is alive"


def test_one_in_use_and_those_of_others_stay(temporary, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("home")
    gone = ended_owner().model_dump_json()
    (elsewhere / "owner.json").write_text(gone)
    (temporary / "swimlab-link").symlink_to(elsewhere)
    for name, content in {"swimlab-other": None, "swimlab-cut": "{", "other-train": gone}.items():
        (temporary / name).mkdir()
        if content:
            (temporary / name / "owner.json").write_text(content)
    with scratch_folder("trial") as folder:
        assert list(folder.iterdir()) == []
        assert abandoned() == []
    assert sorted(path.name for path in temporary.iterdir()) == [
        "other-train",
        "swimlab-cut",
        "swimlab-link",
        "swimlab-other",
    ]


def test_every_temporary_folder_of_a_run_says_whose_it_is():
    """In one place: a folder made otherwise would never be found."""
    package = Path(scratch.__file__).parents[1]
    text = {path: path.read_text() for path in package.rglob("*.py")}
    assert [
        path for path, source in text.items() if 'prefix="swimlab-' in source or 'prefix=f"swimlab-' in source
    ] == []
