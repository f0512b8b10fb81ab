"""The leaderboard and the tables of a store with evaluations, on local disk and on S3."""

import json

from store_kit import committed, evaluated, record_of, row_of, samples, trained, trained_again

from swimlab.store import snapshot
from swimlab.store.arrow_tables import from_parquet
from swimlab.store.published_tables import PUBLISHED_EVALUATIONS, write_tables
from swimlab.store.sweep_store import SweepStore


def test_suites_are_side_by_side_and_each_names_its_evaluation(store, trial_record):
    record = trained(store, trial_record)
    store.publish(record, "e1")
    committed(store, trial_record, "t2", metrics={"train.loss": 2.0})
    evaluated(store, record, "b1", suite="bench", metrics={"bench.score": 3.0})
    table = snapshot.leaderboard(store)
    columns = ["train.loss", "attention.ap", "evaluated.attention", "bench.score", "evaluated.bench"]
    assert [list(row.values()) for row in table.select(columns).to_pylist()] == [
        [1.0, 0.5, "e1", 3.0, "b1"],
        [2.0, None, None, None, None],
    ]
    write_tables(store)
    assert snapshot.leaderboard(store).equals(table)
    assert from_parquet(store.read("tables/trials/trials.parquet")).equals(table)


def test_records_of_the_older_kind_count_as_they_did(store, trial_record):
    """Their metrics hold the evaluation, their samples are beside the curves."""
    attempt = store.claim("t1")
    attempt.put("samples.parquet", samples(0.25))
    record = record_of(attempt, trial_record, metrics={"attention.ap": 0.25, "answer.accuracy": 1.0})
    older = record.model_dump(mode="json") | {"schema_version": 1}
    store.put_create_only(record.path, json.dumps(older).encode())
    for _ in range(2):
        row = row_of(store)
        assert (row["attention.ap"], row["answer.accuracy"], row.get("evaluated.attention")) == (0.25, 1.0, None)
        write_tables(store)
    assert store.record("t1") == record
    assert store.results({"t1": ["e1"]})["t1"].metrics == record.metrics
    assert from_parquet(store.read("tables/samples/t1.parquet")).to_pylist()[0]["trial_id"] == "t1"
    newer = trained(store, trial_record, "t2", "e2")
    store.publish(newer, "e2")
    evaluated(store, record, "e1", metrics={"attention.ap": 0.75})
    table = snapshot.leaderboard(store).select(["attention.ap", "answer.accuracy", "evaluated.attention"])
    assert [list(row.values()) for row in table.to_pylist()] == [[0.75, 1.0, "e1"], [0.5, None, "e2"]]


def test_writing_the_tables_publishes_what_a_killed_driver_left(store, trial_record):
    trained(store, trial_record, files={"samples.parquet": samples(0.5)})
    write_tables(store)
    assert row_of(store)["attention.ap"] == 0.5
    assert set(store.list_files("tables")) == {
        "tables/trials/trials.parquet",
        PUBLISHED_EVALUATIONS,
        "tables/samples/e1.parquet",
    }
    assert store.list_files("recent/evaluation_commits") == []
    before = {path: store.read(path) for path in store.list_files("tables")}
    store.backend.delete_many(list(before))
    write_tables(store)
    assert {path: store.read(path) for path in store.list_files("tables")} == before


def test_a_snapshot_older_than_an_evaluation(store, trial_record):
    record = trained(store, trial_record)
    store.publish(record, "e1")
    write_tables(store)
    evaluated(store, record, "b1", suite="bench", metrics={"bench.score": 3.0}, files={"samples.parquet": samples(3)})
    assert (row_of(store)["attention.ap"], row_of(store)["bench.score"]) == (0.5, 3.0)
    write_tables(store)
    table = from_parquet(store.read("tables/trials/trials.parquet"))
    assert table["bench.score"].to_pylist() == [3.0]
    assert "tables/samples/b1.parquet" in store.list_files("tables")
    assert store.list_files("recent/evaluation_commits") == []
    store.backend.delete("evaluations/b1.json")
    write_tables(store)
    assert row_of(store).get("bench.score") is None
    assert "tables/samples/b1.parquet" not in store.list_files("tables")


def test_a_reader_fetches_only_what_is_new(store, trial_record, monkeypatch):
    record = trained(store, trial_record)
    read, real = [], store.backend.read_many

    def read_many(paths):
        read.extend(paths)
        return real(paths)

    monkeypatch.setattr(store.backend, "read_many", read_many)
    reader = snapshot.LeaderboardReader(store)
    table = reader.table()
    assert read == ["records/t1.json"]
    assert reader.table() is table
    assert read == ["records/t1.json"]
    store.publish(record, "e1")
    read.clear()
    assert reader.table()["attention.ap"].to_pylist() == [0.5]
    assert read == ["evaluations/e1.json"]
    write_tables(store)
    read.clear()
    assert reader.table()["attention.ap"].to_pylist() == [0.5]
    assert sorted(read) == [
        "recent/evaluation_snapshots/00000001.parquet",
        "recent/snapshots/00000001.parquet",
    ]
    evaluated(store, record, "b1", suite="bench", metrics={"bench.score": 3.0})
    read.clear()
    assert reader.table()["bench.score"].to_pylist() == [3.0]
    assert reader.table()["bench.score"].to_pylist() == [3.0]
    assert read == ["evaluations/b1.json"]
    again = trained_again(store, trial_record, record)
    assert reader.table()["nonce"].to_pylist() == [again.nonce]
    assert "bench.score" not in reader.table().column_names


def test_requests_of_a_leaderboard_with_evaluations_on_s3(s3_store_uri, trial_record):
    """A listing and the two snapshots, however many trials and evaluations; one for each newer record."""
    store = SweepStore(s3_store_uri)
    for number in range(3):
        store.publish(trained(store, trial_record, f"t{number}", f"e{number}"), f"e{number}")
    write_tables(store)
    with store.backend.counted() as sent:
        assert snapshot.leaderboard(store)["attention.ap"].to_pylist() == [0.5] * 3
    assert sent == {"ListObjectsV2": 1, "GetObject": 2}
    evaluated(store, store.record("t0"), "b0", suite="bench")
    trained(store, trial_record, "t3", "e3")
    with store.backend.counted() as sent:
        assert snapshot.leaderboard(store).num_rows == 4
    assert sent == {"ListObjectsV2": 1, "GetObject": 4}
