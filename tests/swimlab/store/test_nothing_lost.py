"""Committed files survive listings that fail or are short, and pauses in the middle of a commit or a collection."""

import errno
import os
from pathlib import Path

import pytest
from store_kit import committed, evaluation_of, record_of, trained

from swimlab.store import garbage_collection, snapshot
from swimlab.store.evaluation_records import TrialTarget
from swimlab.store.garbage_collection import Rules
from swimlab.store.leases import Owner
from swimlab.store.published_tables import write_tables
from swimlab.store.record_kinds import EVALUATIONS, TRIALS
from swimlab.store.sweep_store import StoreError, SweepStore

FILES = {"film.bin": b"m", "checkpoint/model": b"w"}


def files_of(store: SweepStore) -> dict[str, bytes]:
    return {path: store.backend.read(path) for path in store.backend.files("attempts")}


def ids(store: SweepStore) -> list[str]:
    return snapshot.leaderboard(store)["trial_id"].to_pylist()


@pytest.fixture
def unlistable(monkeypatch):
    """Makes a folder of a local store one whose listing fails, as of a disk that does not answer."""
    scandir = os.scandir

    def make(folder: Path) -> None:
        def failing(path):
            if Path(path) == folder:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", failing)

    return make


def short(store: SweepStore, monkeypatch, missing: str) -> None:
    """From now on listings lack this path, as of a server that answers with an empty page."""
    names, sizes = store.backend.files, store.backend.sizes
    monkeypatch.setattr(store.backend, "files", lambda folder: [p for p in names(folder) if p != missing])
    monkeypatch.setattr(
        store.backend, "sizes", lambda folder: {p: size for p, size in sizes(folder).items() if p != missing}
    )


@pytest.mark.parametrize("folder", ["records", "evaluations", "recent", "attempts", "attempts/t2"])
def test_a_folder_that_cannot_be_listed_is_an_error_and_not_empty(tmp_path, trial_record, unlistable, folder):
    store = SweepStore(str(tmp_path))
    store.publish(trained(store, trial_record, "t1", files=FILES), "e1")
    committed(store, trial_record, "t2", FILES)
    write_tables(store)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    unlistable(tmp_path / folder)
    actions = {
        "gc": lambda: garbage_collection.collect(store, garbage_collection.find(store)),
        "tables": lambda: write_tables(store),
        "records": store.records,
        "evaluations": store.evaluations,
    }
    for name in {"records": ("gc", "tables", "records"), "evaluations": ("gc", "tables", "evaluations")}.get(
        folder, ("gc", "tables") if folder == "recent" else ("gc",)
    ):
        with pytest.raises(StoreError, match=r"Input/output error.*check the disk"):
            actions[name]()
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("compacted", [True, False])
@pytest.mark.parametrize("missing", ["records/t1.json", "evaluations/e1.json"])
def test_gc_refuses_when_a_listing_lacks_what_a_snapshot_or_a_mark_knows(
    store, trial_record, monkeypatch, missing, compacted
):
    store.publish(trained(store, trial_record, "t1", files=FILES), "e1")
    committed(store, trial_record, "t2", FILES)
    if compacted:
        write_tables(store)
    before = files_of(store)
    with monkeypatch.context() as patch:
        short(store, patch, missing)
        with pytest.raises(StoreError, match=rf"lacks {Path(missing).stem}, which can be read there"):
            garbage_collection.find(store)
    assert files_of(store) == before
    assert garbage_collection.find(store).items == ()


def test_gc_refuses_when_records_that_the_snapshot_knows_are_not_there(store, trial_record):
    """As of a folder that is not mounted. Whoever deleted them on purpose is told what to do."""
    committed(store, trial_record, "t1", FILES)
    committed(store, trial_record, "t2", FILES)
    write_tables(store)
    store.backend.delete("records/t1.json")
    with pytest.raises(StoreError, match=r"records lacks t1, which recent/snapshots knows.*on purpose.*delete recent/"):
        garbage_collection.find(store)
    store.backend.delete_many(store.list_files("recent"))
    store.backend.create("attempts/t1/1/failure.json", b"{}")
    garbage_collection.collect(store, garbage_collection.find(store))
    assert store.open_file("t2", "film.bin") == b"m"


@pytest.mark.parametrize("compacted", [True, False])
def test_a_short_listing_makes_no_row_disappear(store, trial_record, monkeypatch, compacted):
    for trial_id in ("t1", "t2"):
        committed(store, trial_record, trial_id)
    if compacted:
        write_tables(store)
    committed(store, trial_record, "t3")
    with monkeypatch.context() as patch:
        short(store, patch, "records/t1.json")
        write_tables(store)
    assert ids(store) == ["t1", "t2", "t3"]
    assert snapshot.load_latest(store.backend)[1][TRIALS].table.num_rows == 3


def test_a_record_is_read_again_right_before_anything_of_its_attempt_is_deleted(store, trial_record, monkeypatch):
    """Garbage is found while the records seem to be gone, and collected when they are back; then all of it stays."""
    attempt = committed(store, trial_record, "t1", FILES)
    record = store.backend.read("records/t1.json")
    store.backend.delete_many(["records/t1.json", *store.list_files("recent")])
    monkeypatch.setattr(SweepStore, "ended", lambda *_: "gone")
    garbage = garbage_collection.find(store)
    assert [item.location for item in garbage.items] == [attempt.folder]
    store.backend.create("records/t1.json", record)
    assert garbage_collection.collect(store, garbage) == ()
    assert store.open_file("t1", "checkpoint/model") == b"w"
    store.backend.replace("records/t1.json", b"{}")
    with pytest.raises(StoreError, match=r"records/t1\.json"):
        garbage_collection.collect(store, garbage)
    assert store.backend.read("attempts/t1/1/checkpoint/model") == b"w"


def test_a_mark_whose_record_came_meanwhile_stays(store, trial_record, monkeypatch):
    attempt = store.claim("t1")
    monkeypatch.setattr(SweepStore, "ended", lambda *_: "gone")
    write_tables(store)
    real = store.backend.create
    monkeypatch.setattr(store.backend, "create", lambda path, data: "records" in path or real(path, data))
    record = record_of(attempt, trial_record)
    store.commit(attempt, record)  # paused between its mark and its record
    garbage = garbage_collection.find(store)
    assert [item.kind for item in garbage.items] == ["mark"]
    real(record.path, record.to_json())
    assert garbage_collection.collect(store, garbage) == ()
    assert ids(store) == ["t1"]


@pytest.fixture(params=["trial", "evaluation"])
def committing(request, uri, trial_record):
    """A claimed attempt with a file, and what commits it."""
    store = SweepStore(uri, owner=Owner(host="elsewhere", realm="boot-2", pid=1))
    if request.param == "trial":
        attempt = store.claim("w1")
        attempt.put("film.bin", b"m")
        record = record_of(attempt, trial_record)
        return attempt, record, TRIALS, lambda: store.commit(attempt, record)
    target = trained(store, trial_record)
    attempt = store.claim("w1", TrialTarget.of(target))
    attempt.put("film.bin", b"m")
    evaluation = evaluation_of(attempt, TrialTarget.of(target), target.provenance, "w1", files=attempt.files)
    return attempt, evaluation, EVALUATIONS, lambda: store.commit_evaluation(attempt, evaluation)


@pytest.mark.parametrize("state", ["gone", "silent"])
@pytest.mark.parametrize("pause", ["before its record", "after its record"])
def test_an_attempt_collected_while_it_commits_leaves_no_record_without_files(
    store, committing, monkeypatch, state, pause
):
    """The owner is paused inside its commit for longer than its heartbeat may be silent; gc runs meanwhile."""
    attempt, record, kind, commit = committing
    monkeypatch.setattr(SweepStore, "ended", lambda _, work_id, number: state if work_id == "w1" else None)
    create = attempt.backend.create

    def paused(path, data):
        if path != record.path:
            return create(path, data)
        if pause == "before its record":
            garbage_collection.collect(store, garbage_collection.find(store))
        done = create(path, data)
        if pause == "after its record":
            garbage_collection.collect(store, garbage_collection.find(store))
        return done

    monkeypatch.setattr(attempt.backend, "create", paused)
    if pause == "after its record":
        assert commit()
        garbage_collection.collect(store, garbage_collection.find(store))  # its attempt bears the note of the first
        assert store.files_of([record], "film.bin") == [b"m"]
        return
    with pytest.raises(StoreError, match=rf"{attempt.folder} had no heartbeat.*garbage-collected"):
        commit()
    assert kind.read(store.backend, ["w1"]) == {}
    assert store.list_files(f"recent/{kind.marks}") == []


def test_a_record_written_while_its_files_are_deleted_is_withdrawn(store, committing, monkeypatch):
    """Its process was killed right after it wrote the record, so it did not look for `collected.json`."""
    _, record, kind, _ = committing
    monkeypatch.setattr(SweepStore, "ended", lambda _, work_id, number: "silent" if work_id == "w1" else None)
    garbage = garbage_collection.find(store)
    delete_many = store.backend.delete_many

    def delete(paths):
        delete_many(paths)
        store.backend.create(record.path, record.to_json())

    monkeypatch.setattr(store.backend, "delete_many", delete)
    garbage_collection.collect(store, garbage)
    assert kind.read(store.backend, ["w1"]) == {}


def test_a_record_written_after_its_files_were_deleted_is_withdrawn_by_the_next_collection(
    store, committing, monkeypatch
):
    """Its process slept through a whole collection, wrote the record and was killed."""
    _, record, kind, _ = committing
    monkeypatch.setattr(SweepStore, "ended", lambda _, work_id, number: "silent" if work_id == "w1" else None)
    garbage_collection.collect(store, garbage_collection.find(store))
    store.backend.create(record.path, record.to_json())
    with monkeypatch.context() as patch:
        patch.setattr(store.backend, "sizes", lambda folder: {})
        assert garbage_collection.find(store).items == ()  # a listing that is short
    (item,) = garbage_collection.find(store).items
    assert (item.kind, item.location, item.paths) == ("record", record.folder, (record.path,))
    assert garbage_collection.collect(store, garbage_collection.find(store)) == (item,)
    assert kind.read(store.backend, ["w1"]) == {}
    assert garbage_collection.find(store).items == ()


def test_every_unfinished_attempt_is_fenced(store, uri, trial_record, monkeypatch):
    """Not only a silent one: what was taken for gone commits nothing whose files were deleted."""
    attempt = SweepStore(uri).claim("t1")
    attempt.put("film.bin", b"m")
    with monkeypatch.context() as patch:
        patch.setattr(SweepStore, "ended", lambda *_: "gone")
        garbage_collection.collect(store, garbage_collection.find(store, Rules(unfinished=True)))
    with pytest.raises(StoreError, match="garbage-collected"):
        store.commit(attempt, record_of(attempt, trial_record))
    assert store.records() == {}
