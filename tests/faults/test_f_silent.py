"""A number that is shown is the number that was committed: damage on the disk is named, and a cache is built again."""

import json
import random
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fault_kit import Command, experiment, finish
from fault_table import fault
from store_kit import committed, flipped, plausible_record

import nano
from swim.outputs import MetricPoint
from swimlab.store.arrow_tables import metrics_table, to_parquet
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import SweepStore

FLIPS = 50


@fault("bits flip in recent/snapshots/*.parquet", "rows of the leaderboard change, or no command runs", "right", "F5")
def test_no_flipped_bit_of_a_snapshot_changes_the_leaderboard(
    store: SweepStore, tmp_path: Path, swimlab: Command, fault_seed: int
) -> None:
    out, rng = tmp_path / "rows.json", random.Random(fault_seed)

    def exported() -> str:
        code, printed = swimlab("export", "--out", str(out), "--store", store.uri)
        assert code == 0, printed
        return out.read_text()

    calm = exported()
    (snapshot,) = (tmp_path / "store/recent/snapshots").iterdir()
    whole = snapshot.read_bytes()
    for _ in range(FLIPS):
        snapshot.write_bytes(flipped(whole, rng))
        assert exported() == calm
    snapshot.write_bytes(whole[:-9] + b"?" + whole[-8:])
    code, printed = swimlab("ls", "--store", store.uri)
    assert (code, "3 trials" in printed) == (0, True), printed
    write_tables(store)  # as the next run does
    newest = max((tmp_path / "store/recent/snapshots").iterdir())
    assert pq.read_table(newest).num_rows == 3


@fault("bits flip in tables/metrics/*.parquet", "another tool reads another number", "error of that tool", "F5")
@fault("bits flip in tables/metrics/*.parquet", "no run mends it", "right: gc --tables --delete, then the next", "F5")
def test_other_tools_can_tell_a_flipped_bit_of_a_curve(tmp_path: Path, swimlab: Command, fault_seed: int) -> None:
    store, rng = SweepStore(str(tmp_path / "store")), random.Random(fault_seed)
    points = [MetricPoint(step=step, name="train.loss", value=rng.random()) for step in range(50)]
    committed(store, plausible_record, "t1", {"metrics.parquet": to_parquet(metrics_table(points))})
    write_tables(store)
    (file,) = (tmp_path / "store/tables/metrics").iterdir()
    whole, calm, group = file.read_bytes(), pq.read_table(file), pq.ParquetFile(file).metadata.row_group(0)
    refused, columns = 0, [group.column(number) for number in range(group.num_columns)]
    first = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    size = sum(column.total_compressed_size for column in columns)
    for _ in range(FLIPS):
        at = rng.randrange(first, first + size)  # in the pages, which are what has checksums
        file.write_bytes(flipped(whole, rng, at))
        try:
            assert pq.read_table(file, page_checksum_verification=True).equals(calm)
        except (OSError, pa.ArrowException):
            refused += 1
    assert refused > FLIPS // 2
    code, printed = swimlab("gc", "--tables", "--delete", "--store", store.uri)
    assert (code, "damaged tables" in printed, file.exists()) == (0, True, False), printed
    write_tables(store)  # as the next run does
    assert file.read_bytes() == whole


RECORDS = [
    pytest.param(lambda records: records["t1"].replace(b"0.25", b"9.25"), "t1.json .*digest does not fit", marks=fault(
        "a digit of records/t1.json flips", "the number is shown as the trial's", "error names the file", "F6"
    ), id="digit"),
    pytest.param(lambda records: records["t2"], "t1.json is the record of t2: it was copied", marks=fault(
        "records/t2.json is copied over t1.json", "t2's numbers are shown as t1's", "error names both", "F6"
    ), id="copied"),
    pytest.param(lambda records: records["t1"].replace(b'"digest"', b'"digits"'), "t1.json .*no digest", marks=fault(
        "the digest of records/t1.json is renamed", "the record counts without one", "error names the file", "F6"
    ), id="without"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "says"), RECORDS)
def test_a_record_is_what_was_committed(
    store: SweepStore, tmp_path: Path, swimlab: Command, damage: Callable[[dict[str, bytes]], bytes], says: str
) -> None:
    records = {path.stem: path.read_bytes() for path in (tmp_path / "store/records").iterdir()}
    (tmp_path / "store/records/t1.json").write_bytes(damage(records))
    for argv in (("show", "t1"), ("why", "t0", "t1"), ("gc", "--checkpoints", "none", "--delete")):
        code, printed = swimlab(*argv, "--store", store.uri)
        assert code == 1
        assert says.partition(" ")[0] in printed
        assert says.rpartition("*")[2] in printed, printed
    store.backend.delete_many(store.list_files("recent"))  # then every record is read
    assert swimlab("ls", "--store", store.uri)[0] == 1


CUT = {"cut": lambda data: data[: len(data) // 2], "empty": lambda data: b""}


@pytest.mark.parametrize("damage", CUT)
@fault("tables/arms/*.parquet is cut or empty", "plan and run of every experiment fail for ever", "right", "F13")
def test_a_damaged_table_of_arms_stops_no_experiment(
    tmp_path: Path, swimlab: Command, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    table = nano.ablation(seeds=(0,))
    finish(tmp_path, table)
    assert experiment(tmp_path, table, "run")[0] == 0
    file = tmp_path / "store/tables/arms/nano.parquet"
    file.write_bytes(CUT[damage](file.read_bytes()))
    code, printed = experiment(tmp_path, table, "plan")
    assert (code, "2 cached" in printed or "2 of" in printed) == (0, True), printed
    code, printed = swimlab("ls", "--store", str(tmp_path / "store"))
    assert (code, "2 trials" in printed) == (0, True), printed
    assert "tables/arms/nano.parquet is damaged" in caplog.text
    assert experiment(tmp_path, table, "run")[0] == 0
    assert pq.read_table(file).num_rows == 2


@fault("clips/*/manifest.json is cut", "an error that names no file", "error names it, and what to do", "F13")
def test_a_damaged_manifest_of_clips_is_named(tmp_path: Path) -> None:
    table = nano.ablation(seeds=(0,))
    plan = finish(tmp_path, table)
    manifest = tmp_path / "store/clips" / plan.waves[0][0].clips_fingerprint / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(b'{"fingerprint": "')
    code, printed = experiment(tmp_path, table, "run")
    said = " ".join(printed.split())
    assert code == 1
    assert f"{manifest.parent.name}/manifest.json" in said
    assert "delete" in said, said


DAMAGED = [b"", b"{", b"[]", b'{"nonce": "']


@pytest.mark.parametrize("data", DAMAGED)
@fault("heartbeat and claim of an attempt are empty or cut", "JSONDecodeError in claim, gc and watch", "right", "F13")
def test_a_damaged_claim_and_heartbeat_stop_no_command(store: SweepStore, swimlab: Command, data: bytes) -> None:
    attempt = store.claim("open")
    assert attempt
    with attempt.heartbeat():
        pass
    for name in ("claim", "heartbeat"):
        store.backend.replace(f"{attempt.folder}/{name}", data)
    for argv in (("gc", "--delete"), ("show", "open"), ("ls",), ("watch", "--once")):
        code, printed = swimlab(*argv, "--store", store.uri)
        assert code == 0 or argv[0] == "watch", printed
        assert "JSONDecodeError" not in printed
    assert SweepStore(store.uri).claim("open") is None, "its owner may be alive"


LITTER = (".DS_Store", ".nfs0001", "._t1.json", "t1 (copy).json", "Thumbs.db", "desktop.ini", "t1.json~", "x2/y/claim")
FOLDERS = (
    "records", "evaluations", "attempts", "attempts/t1", "attempts/t1/1", "recent", "recent/commits",
    "recent/snapshots", "recent/evaluation_snapshots", "tables/arms", "tables/metrics", "code", "clips", "plans",
    "protocols", "pruned", "rungs", "runs", "reports",
)  # fmt: skip


@fault("files of other programs in every folder of a store", "no command runs", "right: they are ignored", "F9")
def test_files_of_other_programs_stop_no_command(store: SweepStore, tmp_path: Path, swimlab: Command) -> None:
    calm = {
        argv: swimlab(*argv, "--store", store.uri) for argv in (("ls",), ("show", "t1"), ("gc",), ("why", "t1", "t2"))
    }
    for folder, name in product(FOLDERS, LITTER):
        file = tmp_path / "store" / folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"\0")
    for argv, before in calm.items():
        assert swimlab(*argv, "--store", store.uri) == before
    write_tables(store)
    out = tmp_path / "rows.json"
    assert swimlab("export", "--out", str(out), "--store", store.uri)[0] == 0
    assert [row["trial_id"] for row in json.loads(out.read_text())] == ["t0", "t1", "t2"]
    assert store.claim("t9")
