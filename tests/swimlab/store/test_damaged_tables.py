"""Damage to a Parquet file: a cache is rebuilt and says so, and no flipped bit changes a row in silence."""

import logging
import random

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_kit import committed, evaluated, flipped, samples, trained

from swim.outputs import MetricPoint
from swimlab.store import arrow_tables, garbage_collection, published_tables, query, snapshot
from swimlab.store.arms_tables import ARMS_SCHEMA
from swimlab.store.arrow_tables import DamagedTableError, from_parquet, metrics_table, to_parquet
from swimlab.store.published_tables import write_tables

FLIPS = 600
ARMS = "tables/arms/fusion.parquet"
POINTS = metrics_table([MetricPoint(step=step, name="train.loss", value=1 / (step + 1)) for step in range(20)])


def arms(*trial_ids: str) -> pa.Table:
    rows = [{"experiment": "fusion", "recipe": "tiny", "arm": t, "seed": 0, "trial_id": t} for t in trial_ids]
    return pa.Table.from_pylist(rows, schema=ARMS_SCHEMA)


@pytest.fixture
def filled(store, trial_record):
    for number in range(3):
        committed(store, trial_record, f"t{number}", metrics={"attention.ap": number / 7})
    write_tables(store, arms("t0", "t1"))
    return store


@pytest.mark.parametrize("uri", ["local"], indirect=True)
def test_no_flipped_bit_of_a_snapshot_changes_a_row(filled):
    (path,) = filled.list_files("recent/snapshots")
    data, rng, table = filled.read(path), random.Random(0), snapshot.leaderboard(filled)
    for _ in range(FLIPS):
        filled.backend.replace(path, flipped(data, rng))
        assert snapshot.leaderboard(filled).equals(table)


def test_no_flipped_bit_of_any_table_changes_a_row():
    rng = random.Random(0)
    for table in (POINTS, arms("t0", "t1"), POINTS.slice(0, 0)):
        data = to_parquet(table)
        assert from_parquet(data).equals(table)
        refused = 0
        for _ in range(FLIPS):
            try:
                assert from_parquet(flipped(data, rng)).equals(table)
            except DamagedTableError:
                refused += 1
        assert refused > 0.8 * FLIPS


def test_other_readers_can_verify_the_pages(tmp_path):
    file = tmp_path / "t.parquet"
    file.write_bytes(to_parquet(POINTS))
    assert duckdb.sql(f"select count(*), max(value) from '{file}'").fetchall() == [(20, 1.0)]
    assert pq.read_table(file, page_checksum_verification=True).equals(POINTS)
    header = pq.ParquetFile(file).metadata.row_group(0).column(2)
    data = bytearray(file.read_bytes())
    data[(header.dictionary_page_offset or header.data_page_offset) + header.total_compressed_size - 3] ^= 1
    file.write_bytes(data)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(file, page_checksum_verification=True)


def test_a_table_of_an_older_swimlab_is_read():
    buffer = pa.BufferOutputStream()
    pq.write_table(POINTS, buffer, compression="zstd")
    assert from_parquet(buffer.getvalue().to_pybytes()).equals(POINTS)
    with pytest.raises(DamagedTableError, match="no Parquet file that can be read"):
        from_parquet(buffer.getvalue().to_pybytes()[:-9])


@pytest.mark.fault(
    injection="a snapshot of the leaderboard is empty, cut, flipped or zeroed",
    symptom="ls, run and gc end with a raw error, or rows are missing",
    expected="right: the records are read, the file is named and written anew",
    reference="F5",
)
@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "zeros"])
def test_a_damaged_snapshot_is_rebuilt(filled, caplog, damage):
    (path,) = filled.list_files("recent/snapshots")
    data, table = filled.read(path), snapshot.leaderboard(filled)
    middle = len(data) // 2
    changed = {
        "empty": b"",
        "cut": data[:middle],
        "flipped": data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :],
        "zeros": bytes(len(data)),
    }
    filled.backend.replace(path, changed[damage])
    with caplog.at_level(logging.WARNING):
        assert snapshot.leaderboard(filled).equals(table)
    assert f"{filled.uri}/{path} is damaged" in caplog.text
    assert "the next run writes a new one" in caplog.text
    write_tables(filled)
    caplog.clear()
    assert snapshot.leaderboard(filled).equals(table)
    assert "damaged" not in caplog.text


@pytest.mark.parametrize("damage", ["empty", "cut", "other columns", "copied"])
def test_damaged_arms_count_as_empty_until_the_next_run(filled, caplog, damage):
    data = filled.read(ARMS)
    other = arms("t2").set_column(0, "experiment", pa.array(["masks"]))
    changed = {"empty": b"", "cut": data[:-20], "other columns": to_parquet(POINTS), "copied": to_parquet(other)}
    filled.backend.replace(ARMS, changed[damage])
    assert query.arms_by_trial(filled) == {}
    assert f"{filled.uri}/{ARMS} is damaged and counts as empty" in caplog.text
    write_tables(filled, arms("t0", "t1"))
    assert set(query.arms_by_trial(filled)) == {"t0", "t1"}
    assert arrow_tables.from_parquet(filled.read(ARMS)).num_rows == 2


def test_copies_that_are_damaged_or_gone_are_written_again(store, trial_record):
    points, scores = to_parquet(POINTS), {"samples.parquet": samples(0.5)}
    for name in ("t1", "t2", "t3"):
        evaluated(store, trained(store, trial_record, name, f"of-{name}", scores), f"later-{name}", scores)
    committed(store, trial_record, "t4", {"metrics.parquet": points, **scores})  # of before evaluations had records
    write_tables(store)
    whole = {path: store.read(path) for path in store.list_files("tables")}
    assert len([path for path in whole if "/samples/" in path]) == 7
    assert published_tables.damaged_copies(store) == {}
    curve, sample, of_trial, other = (
        f"tables/{name}.parquet" for name in ("metrics/t4", "samples/of-t1", "samples/t4", "samples/later-t2")
    )
    store.backend.replace(sample, whole[sample][:-9])
    store.backend.replace(of_trial, b"")
    store.backend.replace(other, whole["tables/samples/later-t3.parquet"])
    store.backend.delete("tables/samples/later-t1.parquet")
    garbage = garbage_collection.find(store, garbage_collection.Rules(tables=True))
    assert {item.location for item in garbage.items} == {sample, of_trial, other}
    assert "it is of later-t3" in " ".join(item.reason for item in garbage.items)
    garbage_collection.collect(store, garbage)
    assert not store.exists(curve)
    write_tables(store)
    assert {path: store.read(path) for path in store.list_files("tables")} == whole
