"""A store on a disk that is really full (a small tmpfs): an error that says so, and nothing half-written counts."""

import json
import logging
import subprocess
import sys
import time

import pytest
from fault_table import fault
from small_disk import small_disk
from store_kit import committed, record_of

from swimlab.store import snapshot
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import StoreError, SweepStore

NO_ROOM = r"No space left on device.*(with free space|check the disk)"


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "4m") as disk:
        yield disk


@pytest.fixture
def store(disk):
    return SweepStore(str(disk.folder / "store"))


def half_written(store):
    return list(store.backend.root.rglob(".tmp-*"))


@fault(
    "the store's disk fills while a trial puts its files",
    "a cut file counts as whole, or the claim is held for ever",
    "error says that there is no room; with room the trial runs again",
)
def test_a_file_that_does_not_fit_is_not_there(disk, store, trial_record, record_property):
    attempt = store.claim("t1")
    attempt.put("film.bin", b"f" * 1000)
    disk.fill(leave_bytes=200_000)
    with pytest.raises(StoreError, match=NO_ROOM) as caught:
        attempt.put("checkpoint/model", b"w" * 10**6)
    record_property("message", str(caught.value))
    assert half_written(store) == []
    assert not store.exists(f"{attempt.folder}/checkpoint/model")
    attempt.fail("no space left", "StoreError")
    disk.free()
    again = store.claim("t1")
    assert again.number == 2
    again.put("checkpoint/model", b"w" * 10**6)
    assert store.commit(again, record_of(again, trial_record))


@fault(
    "the store's disk is full when a trial commits",
    "an empty or cut record, or a trial that is done and lost",
    "error says that there is no room; the same attempt commits when there is",
)
def test_a_record_that_does_not_fit_is_not_there(disk, store, trial_record, record_property):
    committed(store, trial_record, "t0")
    attempt = store.claim("t1")
    attempt.put("film.bin", b"f" * 1000)
    record = record_of(attempt, trial_record)
    disk.fill()
    with pytest.raises(StoreError, match=NO_ROOM) as caught:
        store.commit(attempt, record)
    record_property("message", str(caught.value))
    assert half_written(store) == []
    assert set(store.records()) == {"t0"}
    assert snapshot.leaderboard(store)["trial_id"].to_pylist() == ["t0"]
    disk.free()
    assert store.commit(attempt, record)
    assert set(store.records()) == {"t0", "t1"}


@fault(
    "the store's disk is full when tables and snapshots are written",
    "a cut snapshot hides rows, or committed results cannot be read",
    "error says that there is no room; all rows can still be read",
)
def test_tables_that_do_not_fit_hide_no_row(disk, store, trial_record, record_property):
    for number in range(3):
        committed(store, trial_record, f"t{number}")
        if number == 1:
            write_tables(store)
    disk.fill()
    with pytest.raises(StoreError, match=NO_ROOM) as caught:
        write_tables(store)
    record_property("message", str(caught.value))
    assert snapshot.leaderboard(store)["trial_id"].to_pylist() == ["t0", "t1", "t2"]
    done = subprocess.run(
        [sys.executable, "-m", "swimlab", "ls", "--store", store.uri], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"t{number}" in done.stdout for number in range(3))
    disk.free()
    write_tables(store)
    assert snapshot.leaderboard(store).num_rows == 3


@fault(
    "the store's disk is full while a live attempt beats",
    "its heartbeat ends the trial, or another driver takes it",
    "right: it beats again when there is room, and commits",
)
def test_a_heartbeat_survives_a_full_disk(disk, store, trial_record, caplog):
    attempt = store.claim("t1")

    def until(happened):
        while not happened():
            time.sleep(0.01)

    def count():
        return json.loads(store.read(f"{attempt.folder}/heartbeat"))["count"]

    with attempt.heartbeat(interval_s=0.01), caplog.at_level(logging.WARNING):
        until(lambda: count() > 2)
        disk.fill()
        until(lambda: "No space left on device" in caplog.text)
        last = count()
        disk.free()
        until(lambda: count() > last + 2)
    assert store.commit(attempt, record_of(attempt, trial_record))
