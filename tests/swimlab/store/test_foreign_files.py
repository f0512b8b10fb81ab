"""Files of other programs, and empty or cut files of our own, stop no command."""

import json
import logging

import pytest
from store_kit import committed, ended_owner, evaluated, record_of, trained

from swimlab.cli.commands.show import attempts_of
from swimlab.execution.monitor import Watcher
from swimlab.store import garbage_collection, listings, query, snapshot
from swimlab.store.garbage_collection import Rules
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import StoreError, SweepStore

LITTER = (".DS_Store", ".nfs0001", "._t1.json", "t1 (copy).json", "Thumbs.db", "desktop.ini", "t1.json~", "x2/y/claim")
FOLDERS = (
    "records", "evaluations", "attempts", "attempts/t1", "attempts/t1/1", "recent", "recent/commits",
    "recent/evaluation_commits", "recent/snapshots", "recent/evaluation_snapshots", "tables/metrics", "tables/arms",
    "code", "clips", "pruned", "rungs/t1/e1", "plans", "protocols/a/b", "reports",
)  # fmt: skip


def test_files_of_other_programs_are_ignored(store, trial_record):
    trained(store, trial_record, "t1")
    evaluated(store, store.record("t1"), "e2")
    write_tables(store)
    committed(store, trial_record, "t2")
    names = ("records", "evaluations", "recent", "tables", "pruned", "rungs", "plans", "protocols", "code")
    before = {name: store.list_files(name) for name in names}
    rows = snapshot.leaderboard(store)
    for folder in FOLDERS:
        for name in LITTER:
            store.backend.create(f"{folder}/{name}", b"\0")
    assert {name: store.list_files(name) for name in names} == before
    assert set(store.records()) == {"t1", "t2"}
    assert set(store.evaluations()) == {"e1", "e2"}
    assert snapshot.leaderboard(store).equals(rows)
    assert store.claim("t3").number == 1
    assert query.resolve(store, "t1") == "t1"
    assert Watcher(store).poll() == []
    garbage = garbage_collection.find(store, Rules(unfinished=True, checkpoints="none"))
    assert [item for item in garbage.items if item.kind != "clips"] == []
    write_tables(store)
    assert snapshot.load_latest(store.backend)[1] != {}
    assert {path.rpartition("/")[2] for path in store.list_files("recent/snapshots")} == {
        "00000001.parquet",
        "00000002.parquet",
    }


def test_what_the_store_writes_is_its_own(store, trial_record):
    """Every file that a trial, an evaluation and their tables leave behind."""
    trained(store, trial_record, "t1")
    evaluated(store, store.record("t1"), "e2")
    committed(store, trial_record, "t2").fail("too late", "ValueError")
    store.publish(store.record("t1"), "e1")
    write_tables(store)
    for folder in ("records", "evaluations", "attempts", "recent", "tables"):
        written = store.backend.files(folder)
        assert written
        assert [path for path in written if not listings.is_own(path)] == []


BAD = (b"", b"{", b'{"nonce": "', b"[]", b"null", b"\xff\xfe", b'{"owner": {}}')


@pytest.mark.parametrize("data", BAD)
def test_a_damaged_claim_or_heartbeat_stops_nobody(tmp_path, trial_record, data, caplog):
    """The owner is then unknown: its heartbeat decides, and gc goes on with the others."""
    now_s = [0.0]
    store = SweepStore(str(tmp_path), clock=lambda: now_s[0])
    attempt = store.claim("t1")
    SweepStore(str(tmp_path), owner=ended_owner()).claim("t2").put("film.bin", b"f")
    for name in ("claim", "heartbeat"):
        store.backend.replace(f"{attempt.folder}/{name}", data)
    with caplog.at_level(logging.WARNING):
        assert store.claim("t1") is None
        garbage = garbage_collection.find(store)
        assert (garbage.alive, [item.location for item in garbage.items]) == (("attempts/t1/1",), ["attempts/t2/1"])
    assert f"{tmp_path}/attempts/t1/1/claim is damaged" in caplog.text
    assert [a["owner"] for a in attempts_of(store, "t1", None)] == ["unknown, process 0"]
    assert query.resolve(store, "t1") == "t1"
    now_s[0] += store.dead_after_s
    assert store.ended("t1", 1) == "silent"
    assert store.claim("t1").number == 2
    assert store.commit(attempt, record_of(attempt, trial_record)), "it was alive after all"


@pytest.mark.fault(
    injection="the claim of a dead attempt is copied over that of a live one",
    symptom="the live attempt counts as dead",
    expected="right: the copy is named and counts for nobody",
)
def test_a_claim_that_was_copied_is_nobodys(tmp_path, caplog):
    store = SweepStore(str(tmp_path))
    store.claim("t1")
    SweepStore(str(tmp_path), owner=ended_owner()).claim("t2")
    store.backend.replace("attempts/t1/1/claim", store.read("attempts/t2/1/claim"))
    assert store.ended("t1", 1) is None
    assert "attempts/t1/1/claim is of attempt 1 of t2" in caplog.text


def test_a_claim_of_an_older_swimlab_is_read(tmp_path):
    owner = {"host": "h", "realm": "r", "pid": 1, "started_s": 1.5}
    store = SweepStore(str(tmp_path))
    store.put_create_only("attempts/t1/1/claim", json.dumps({"nonce": "n", "owner": owner}).encode())
    assert attempts_of(store, "t1", None)[0]["owner"] == "h, process 1"


@pytest.mark.fault(
    injection="the note that a checkpoint was not kept is damaged",
    symptom="a checkpoint that was left out counts as lost",
    expected="error says that it was not kept and how to keep it",
)
@pytest.mark.parametrize("data", BAD)
def test_a_damaged_note_still_says_that_a_checkpoint_was_not_kept(tmp_path, trial_record, data):
    store = SweepStore(str(tmp_path / "store"))
    committed(store, trial_record, "t1", {"checkpoint/model": b"w"})
    garbage_collection.collect(store, garbage_collection.find(store, Rules(checkpoints="none")))
    store.backend.replace("attempts/t1/1/dropped.json", data)
    with pytest.raises(StoreError, match=r"checkpoint of trial t1 was not kept .*--keep-checkpoints all"):
        store.download("t1", "checkpoint/", tmp_path / "copy")


@pytest.mark.fault(
    injection="the account of a failed attempt is damaged",
    symptom="the failed trial counts as running, or cannot be claimed",
    expected="error names failure.json, and the trial may run again",
)
@pytest.mark.parametrize("data", BAD)
def test_a_damaged_failure_is_still_a_failure(tmp_path, data):
    store = SweepStore(str(tmp_path))
    store.claim("t1").fail("diverged", "ValueError")
    store.backend.replace("attempts/t1/1/failure.json", data)
    failure = store.failures(["t1"])["t1"]
    assert failure["error"] == "attempts/t1/1/failure.json is damaged"
    assert attempts_of(store, "t1", None)[0]["state"] == "failed"
    assert store.claim("t1").number == 2
