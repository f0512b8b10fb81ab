"""The leaderboard: complete whatever stops a driver, in few requests, on local disk and on S3."""

import pyarrow as pa
import pytest
from store_kit import committed, record_of

from swim.outputs import MetricPoint
from swimlab.store import commit_marks, snapshot
from swimlab.store.arrow_tables import metrics_table, to_parquet
from swimlab.store.backends import s3
from swimlab.store.published_tables import write_tables
from swimlab.store.record_kinds import TRIALS, RecordKind
from swimlab.store.sweep_store import SweepStore


def ids(table: pa.Table) -> list[str]:
    return table["trial_id"].to_pylist()


def whole(store: SweepStore) -> pa.Table:
    return TRIALS.table(store.records().values())


def marks(store: SweepStore) -> list[str]:
    return store.list_files("recent/commits")


def test_without_any_snapshot_every_record_is_read(store, trial_record):
    assert snapshot.leaderboard(store).num_rows == 0
    assert snapshot.leaderboard(store).column_names[0] == "trial_id"
    committed(store, trial_record, "t2")
    committed(store, trial_record, "t1")
    assert ids(snapshot.leaderboard(store)) == ["t1", "t2"]


def test_what_is_newer_than_the_snapshot_is_read_beside_it(store, trial_record):
    committed(store, trial_record, "t2", seed=1)
    write_tables(store)
    assert marks(store) == []
    committed(store, trial_record, "t1", metrics={"attention.ap": 1.0, "bench_d.avg": 2.0})
    assert len(marks(store)) == 1
    table = snapshot.leaderboard(store)
    assert table.equals(whole(store))
    assert table["bench_d.avg"].to_pylist() == [2.0, None]
    write_tables(store)
    assert snapshot.leaderboard(store).equals(table)
    assert snapshot.load_latest(store.backend)[1][TRIALS].table.equals(table)
    assert marks(store) == []


def test_a_mark_whose_record_never_came_says_nothing(store, trial_record):
    """A driver killed between its mark and its record, and another that then runs the trial."""
    committed(store, trial_record, "t1")
    write_tables(store)
    dead = store.claim("t2")
    commit_marks.mark(store.backend, TRIALS, "t2", dead.nonce)
    assert ids(snapshot.leaderboard(store)) == ["t1"]
    dead.fail("killed", "Killed")
    committed(store, trial_record, "t2")
    assert ids(snapshot.leaderboard(store)) == ["t1", "t2"]


def test_an_attempt_that_lost_leaves_no_mark(store, trial_record):
    first = store.claim("t1")
    first.fail("slow", "TimeoutError")
    committed(store, trial_record, "t1")
    assert not store.commit(first, record_of(first, trial_record))
    assert len(marks(store)) == 1
    write_tables(store)
    assert marks(store) == []


def test_a_record_deleted_by_hand_leaves_and_its_rerun_replaces_it(store, trial_record):
    points = to_parquet(metrics_table([MetricPoint(step=0, name="train.loss", value=2.0)]))
    committed(store, trial_record, "t1", {"metrics.parquet": points}, metrics={"attention.ap": 0.1})
    attempt = committed(store, trial_record, "t2")
    write_tables(store)
    store.backend.delete("records/t1.json")
    write_tables(store)
    assert ids(snapshot.leaderboard(store)) == ["t2"]
    assert store.list_files("tables/metrics") == []
    store.backend.delete("records/t2.json")
    attempt.fail("its process ended", "Killed")
    committed(store, trial_record, "t2", metrics={"attention.ap": 0.9})  # deleted and run again between compactions
    assert snapshot.leaderboard(store)["attention.ap"].to_pylist() == [0.9]
    write_tables(store)
    assert snapshot.load_latest(store.backend)[1][TRIALS].table["attention.ap"].to_pylist() == [0.9]


def test_what_a_snapshot_has_is_not_read_again(store, trial_record, monkeypatch):
    points = to_parquet(metrics_table([MetricPoint(step=0, name="train.loss", value=2.0)]))
    for number in range(3):
        committed(store, trial_record, f"t{number}", {"metrics.parquet": points})
    write_tables(store)
    committed(store, trial_record, "t3", {"metrics.parquet": points})
    read, real = [], store.backend.read_many

    def read_many(paths):
        read.extend(p for p in paths if p.startswith("records/"))
        return real(paths)

    monkeypatch.setattr(store.backend, "read_many", read_many)
    write_tables(store)
    write_tables(store)
    assert read == ["records/t3.json"]
    assert len(store.list_files("recent/snapshots")) == 2


@pytest.mark.fault(
    injection="two compactions between a reader's listing and its reading",
    symptom="rows committed meanwhile are missing",
    expected="right: every row",
)
def test_a_compaction_between_listing_and_reading_hides_nothing(store, trial_record, monkeypatch):
    """The reader has listed the marks; before it reads, another driver commits and compacts twice."""
    committed(store, trial_record, "t1")
    write_tables(store)
    committed(store, trial_record, "t2")
    listed, others = commit_marks.RecentListing.listed, ["t3", "t4"]

    def interrupted(backend):
        recent = listed(backend)
        while others:
            committed(store, trial_record, others.pop())
            with monkeypatch.context() as patch:
                patch.setattr(commit_marks.RecentListing, "listed", listed)
                write_tables(store)
        return recent

    monkeypatch.setattr(commit_marks.RecentListing, "listed", interrupted)
    assert ids(snapshot.leaderboard(store)) == ["t1", "t2", "t3", "t4"]


@pytest.mark.fault(
    injection="two drivers compact at once",
    symptom="the slower one's snapshot lacks the other's rows",
    expected="right: every row",
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_of_two_that_compact_at_once_the_slower_goes_on_from_the_others(store, trial_record, monkeypatch, when):
    """Without the numbered snapshots the slower one would write back a state in which a row is missing whose mark the
    faster one has removed."""
    committed(store, trial_record, "t1")
    write_tables(store)
    committed(store, trial_record, "t2")
    real, others = RecordKind.ids, ["t3"]

    def ids_of(kind, backend):
        if kind is not TRIALS:
            return real(kind, backend)
        found = real(kind, backend) if when == "before" else None
        if others:
            committed(store, trial_record, others.pop())
            with monkeypatch.context() as patch:
                patch.setattr(RecordKind, "ids", real)
                write_tables(store)
        return found if found is not None else real(kind, backend)

    monkeypatch.setattr(RecordKind, "ids", ids_of)
    write_tables(store)
    monkeypatch.undo()
    assert marks(store) == []
    assert (
        ids(snapshot.leaderboard(store))
        == ids(snapshot.load_latest(store.backend)[1][TRIALS].table)
        == ["t1", "t2", "t3"]
    )
    assert pa.parquet.read_table(pa.BufferReader(store.read("tables/trials/trials.parquet"))).num_rows == 3


def test_a_snapshot_that_cannot_be_read_is_only_a_cache(store, trial_record):
    committed(store, trial_record, "t1")
    write_tables(store)
    for content in (b"no parquet", to_parquet(TRIALS.table([]))):  # the second: rows of another version
        store.backend.replace(store.list_files("recent/snapshots")[-1], content)
        assert ids(snapshot.leaderboard(store)) == ["t1"]
        write_tables(store)
        assert snapshot.load_latest(store.backend)[1][TRIALS].table.num_rows == 1


def test_deleted_tables_are_written_again(store, trial_record):
    points = to_parquet(metrics_table([MetricPoint(step=0, name="train.loss", value=2.0)]))
    committed(store, trial_record, "t1", {"metrics.parquet": points})
    write_tables(store)
    before = {path: store.read(path) for path in store.list_files("tables")}
    store.backend.delete_many(list(before))
    write_tables(store)
    assert {path: store.read(path) for path in store.list_files("tables")} == before
    assert len(before) == 3


def test_rows_added_to_a_table_are_those_of_all_records(trial_record):
    """Byte for byte what is written from all records at once, whatever types a column meets."""
    recipes = [
        {"a": 1, "b": None},
        {"a": 1.5, "b": 2, "c": "x"},
        {"c": 3, "d": [1]},
        {"b": None, "d": True},
        {"c": 4},
    ]
    records = [trial_record(trial_id=f"t{n}", nonce=f"n{n}", recipe=recipe) for n, recipe in enumerate(recipes)]
    expected = TRIALS.table(records)
    assert expected["a"].to_pylist() == [1.0, 1.5, None, None, None]
    assert expected["c"].to_pylist() == [None, "x", "3", None, "4"]
    for cut in range(len(records) + 1):
        table = TRIALS.joined(TRIALS.table(records[cut:]), records[:cut])
        assert snapshot.to_bytes(TRIALS, table.combine_chunks()) == snapshot.to_bytes(TRIALS, expected)


PAGE = 10  # S3's is 1,000; the server honours what is asked


def test_requests_of_a_leaderboard_on_s3(s3_store_uri, trial_record, monkeypatch):
    """Two for what is compacted; beyond, one listing for a page of newer records, and the records themselves."""
    assert s3._PAGE == 1000
    monkeypatch.setattr(s3, "_PAGE", PAGE)
    store = SweepStore(s3_store_uri)
    for number in range(3):
        committed(store, trial_record, f"t{number}")
    write_tables(store)
    with store.backend.counted() as sent:
        assert snapshot.leaderboard(store).num_rows == 3
    assert sent == {"ListObjectsV2": 1, "GetObject": 2}
    for number in range(PAGE):
        commit_marks.mark(store.backend, TRIALS, f"killed{number}", "nonce")
    for number in range(2):
        committed(store, trial_record, f"new{number}")
    with store.backend.counted() as sent:
        assert snapshot.leaderboard(store).num_rows == 5
    assert sent == {"ListObjectsV2": 2, "GetObject": 2 + PAGE + 2}
