"""Conformance of the sweep store: the same promises on local disk and on S3."""

import multiprocessing
import os
import pickle
import signal

import duckdb
import pyarrow as pa
import pytest
from store_kit import ELSEWHERE, committed, record_of

from swim.outputs import MetricPoint
from swimlab.store.arrow_tables import metrics_table, to_parquet
from swimlab.store.leases import Owner
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import StoreError, SweepStore

FORK = multiprocessing.get_context("fork")


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_put_create_only_keeps_the_first(store):
    assert store.put_create_only("protocols/p.json", b"first")
    assert not store.put_create_only("protocols/p.json", b"second")
    assert store.read("protocols/p.json") == b"first"
    assert store.exists("protocols/p.json")
    assert not store.exists("protocols")
    assert not store.exists("protocols/q.json")
    assert store.list_files("protocols") == ["protocols/p.json"]
    assert store.list_files("nothing") == []
    with pytest.raises(FileNotFoundError):
        store.read("protocols/q.json")


def test_check_writable_leaves_nothing(store):
    store.check_writable()
    assert store.list_files("probes") == []


def test_a_store_that_overwrites_is_refused(store, monkeypatch):
    def overwrite(path, data):
        store.backend.replace(path, data)
        return True

    monkeypatch.setattr(store.backend, "create", overwrite)
    with pytest.raises(StoreError, match="If-None-Match"):
        store.check_writable()
    assert store.list_files("probes") == []


def test_a_trial_from_claim_to_record(store, trial_record, tmp_path):
    source = tmp_path / "checkpoint"
    (source / "deep").mkdir(parents=True)
    (source / "model.bin").write_bytes(b"weights")
    (source / "deep" / "part").write_bytes(b"more")
    attempt = store.claim("t1")
    with attempt.heartbeat():
        attempt.put("metrics.parquet", b"numbers")
        attempt.put_dir(source, "checkpoint")
        assert store.record("t1") is None
        assert store.records() == {}
        with pytest.raises(StoreError, match="no record"):
            store.open_file("t1", "metrics.parquet")
        record = record_of(attempt, trial_record)
        assert store.commit(attempt, record)
    assert set(record.files) == {"metrics.parquet", "checkpoint/model.bin", "checkpoint/deep/part"}
    assert store.record("t1") == record
    assert store.records() == store.records(["t1", "t2"]) == {"t1": record}
    assert store.records(["t2"]) == {}
    assert store.claim("t1") is None
    assert store.open_file("t1", "metrics.parquet") == b"numbers"
    got = store.download("t1", "checkpoint/", tmp_path / "got")
    assert {p.relative_to(got).as_posix(): p.read_bytes() for p in got.rglob("*") if p.is_file()} == {
        "model.bin": b"weights",
        "deep/part": b"more",
    }
    with pytest.raises(StoreError, match=r"overlays\.parquet"):
        store.open_file("t1", "overlays.parquet")
    with pytest.raises(StoreError, match="nothing under"):
        store.download("t1", "clips", tmp_path / "got")


def test_a_retried_put_of_our_own_counts_as_a_win(store, trial_record, monkeypatch):
    """A create whose answer was lost is sent again and refused: the write had landed."""
    create = store.backend.create

    def answer_lost(path, data):
        create(path, data)
        return create(path, data)

    monkeypatch.setattr(store.backend, "create", answer_lost)
    attempt = store.claim("t1")
    assert attempt is not None
    attempt.put("metrics.parquet", b"numbers")
    assert store.commit(attempt, record_of(attempt, trial_record))


def test_of_two_attempts_one_commits(store, uri, trial_record):
    first = store.claim("t1")
    first.fail("lost its machine", "WorkerDied")
    second = SweepStore(uri).claim("t1")
    assert (first.number, second.number) == (1, 2)
    first.put("samples.parquet", b"first")
    second.put("samples.parquet", b"second")
    assert store.commit(second, record_of(second, trial_record))
    assert not store.commit(first, record_of(first, trial_record))
    assert store.record("t1").attempt == 2
    assert store.open_file("t1", "samples.parquet") == b"second"


def test_commit_refuses_a_record_of_something_else(store, trial_record):
    attempt = store.claim("t1")
    with pytest.raises(StoreError, match="committed by"):
        store.commit(attempt, trial_record(trial_id="t1", attempt=1, nonce="somebody else's"))
    attempt.put("metrics.parquet", b"numbers")
    record = record_of(attempt, trial_record)
    attempt.files.clear()
    with pytest.raises(StoreError, match=r"did not put: metrics\.parquet"):
        store.commit(attempt, record)
    assert store.record("t1") is None


def test_a_file_is_written_once(store):
    attempt = store.claim("t1")
    attempt.put("metrics.parquet", b"numbers")
    attempt.put("metrics.parquet", b"numbers")
    with pytest.raises(StoreError, match=r"attempts/t1/1/metrics\.parquet was already written"):
        attempt.put("metrics.parquet", b"others")


@pytest.mark.fault(
    injection="a committed file is altered or missing",
    symptom="altered bytes are handed on as the trial's",
    expected="error names the file and says to restore or delete",
)
def test_an_altered_file_is_named(store, trial_record, tmp_path):
    committed(store, trial_record, files={"checkpoint/model.bin": b"weights"})
    store.backend.replace("attempts/t1/1/checkpoint/model.bin", b"altered")
    with pytest.raises(StoreError, match=r"attempts/t1/1/checkpoint/model\.bin: sha256 is"):
        store.open_file("t1", "checkpoint/model.bin")
    with pytest.raises(StoreError, match=r"attempts/t1/1/checkpoint/model\.bin: sha256 is"):
        store.download("t1", "checkpoint", tmp_path / "got")
    assert not (tmp_path / "got" / "model.bin").exists()
    store.backend.delete("attempts/t1/1/checkpoint/model.bin")
    with pytest.raises(StoreError, match="is missing"):
        store.open_file("t1", "checkpoint/model.bin")


@pytest.mark.fault(
    injection="a trial's record is no record",
    symptom="the trial counts as not run, or another file is blamed",
    expected="error names the record",
)
def test_a_record_that_cannot_be_read_is_named(store):
    store.put_create_only("records/t1.json", b"{}")
    with pytest.raises(StoreError, match=r"records/t1\.json has schema_version None"):
        store.record("t1")
    store.backend.replace("records/t1.json", b'{"schema_version": 1}')
    with pytest.raises(StoreError, match=r"records/t1\.json is not a trial record"):
        store.records()


def test_failures_are_of_the_latest_attempt_and_without_a_record(store, trial_record):
    for error in ("first", "second"):
        store.claim("t1").fail(error, "ValueError")
    store.claim("t2").fail("overcome", "OSError")
    committed(store, trial_record, "t2")
    found = store.failures(["t1", "t2", "t3"])
    assert {t: (f["attempt"], f["error"], f["kind"]) for t, f in found.items()} == {"t1": (2, "second", "ValueError")}
    third = store.claim("t1")
    assert third.number == 3
    assert store.failures(["t1"]) == {}


@pytest.mark.fault(
    injection="the owner of a claim on another machine goes silent",
    symptom="its trial is never run again, or is taken while it works",
    expected="right: taken after the limit on the observer's clock",
)
def test_a_silent_owner_is_taken_over_only_after_t_on_the_observers_clock(uri):
    owner = SweepStore(uri, owner=ELSEWHERE)
    clock = Clock()
    observer = SweepStore(uri, dead_after_s=60, clock=clock)
    attempt = owner.claim("t1")
    for beat in (None, b'{"released": false, "count": 1}', b'{"released": false, "count": 2}'):
        if beat:
            owner.backend.replace("attempts/t1/1/heartbeat", beat)
        assert observer.claim("t1") is None
        clock.now_s += 59
        assert observer.claim("t1") is None
    clock.now_s += 1
    takeover = observer.claim("t1")
    assert (attempt.number, takeover.number) == (1, 2)
    assert SweepStore(uri, dead_after_s=60, clock=clock).claim("t1") is None


def test_a_heartbeat_keeps_changing_until_it_stops(uri):
    owner = SweepStore(uri, owner=ELSEWHERE)
    attempt = owner.claim("t1")
    seen = set()
    with attempt.heartbeat(interval_s=0.01):
        while len(seen) < 3:
            seen.add(owner.read("attempts/t1/1/heartbeat"))
    last = owner.read("attempts/t1/1/heartbeat")
    assert b'"released": false' in last
    assert SweepStore(uri).claim("t1") is None


def test_an_exception_gives_the_claim_up_at_once(uri):
    attempt = SweepStore(uri, owner=ELSEWHERE).claim("t1")
    with pytest.raises(ValueError, match="diverged"), attempt.heartbeat():
        raise ValueError("diverged")
    assert SweepStore(uri).claim("t1").number == 2


def test_a_live_process_of_this_machine_keeps_its_claim_and_a_dead_one_loses_it(uri):
    me = Owner.current()
    assert SweepStore(uri, owner=me).claim("alive").number == 1
    assert SweepStore(uri).claim("alive") is None
    # The same pid with another start time is another process.
    SweepStore(uri, owner=me.model_copy(update={"started_ticks": me.started_ticks - 3600})).claim("dead")
    assert SweepStore(uri).claim("dead").number == 2


@pytest.mark.fault(
    injection="a trial or file is named ../x or with an absolute path",
    symptom="a file outside the store is written or read",
    expected="error names the path",
)
def test_names_cannot_leave_the_store(store, tmp_path):
    for bad in ("../t1", "a/b", "", ".hidden", "t" * 65):
        with pytest.raises(StoreError, match="trial id"):
            store.claim(bad)
    attempt = store.claim("t1")
    for bad in ("../claim", "a//b", "/etc/passwd", "a/../b", ".tmp-1", "a\\b", "tab\t"):
        with pytest.raises(StoreError, match="not a valid path of a store"):
            attempt.put(bad, b"")
        with pytest.raises(StoreError, match="not a valid path of a store"):
            store.put_create_only(bad, b"")


def test_put_dir_is_create_only_and_refuses_an_empty_folder(store, tmp_path):
    (tmp_path / "clips").mkdir()
    with pytest.raises(StoreError, match="no files"):
        store.put_dir(tmp_path / "clips", "clips/f")
    (tmp_path / "clips" / "a.parquet").write_bytes(b"a")
    assert list(store.put_dir(tmp_path / "clips", "clips/f")) == ["a.parquet"]
    assert list(store.put_dir(tmp_path / "clips", "clips/f")) == ["a.parquet"]
    (tmp_path / "clips" / "a.parquet").write_bytes(b"b")
    with pytest.raises(StoreError, match="already written"):
        store.put_dir(tmp_path / "clips", "clips/f")


def test_a_store_travels_by_address(store):
    store.put_create_only("protocols/p.json", b"here")
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.uri, copy.read("protocols/p.json")) == (store.uri, b"here")


def test_tables_are_rebuilt_from_records(store, trial_record, tmp_path):
    points = to_parquet(metrics_table([MetricPoint(step=0, name="train.loss", value=2.0)]))
    objective = {"fusion": "max", "layers": [1], "mask_weight": 0}
    committed(store, trial_record, "t1", {"metrics.parquet": points}, seed=0)
    committed(
        store, trial_record, "t2", recipe={"name": "tiny", "objective": objective}, metrics={"attention.nss": 1.0}
    )
    shown = [("tiny", "mean", "stale"), ("tiny", "mean", "t1"), ("tiny", "max", "t2"), ("other", "mean", "t3")]
    arms = pa.Table.from_pylist(
        [{"experiment": "fusion", "recipe": r, "arm": a, "seed": 0, "trial_id": t} for r, a, t in shown]
    )
    write_tables(store, arms.slice(0, 1))
    write_tables(store, arms.slice(3, 1))
    write_tables(store, arms.slice(1, 2))  # replaces what its recipe showed, and leaves the other recipe's
    local = {path: tmp_path / "tables" / path for path in store.list_files("tables")}
    assert sorted(local) == [
        "tables/arms/fusion.parquet",
        "tables/evaluations/evaluations.parquet",
        "tables/metrics/t1.parquet",
        "tables/trials/trials.parquet",
    ]
    for path, copy in local.items():
        copy.parent.mkdir(parents=True)
        copy.write_bytes(store.read(path))
    query = """select trial_id, arm, "objective.fusion", "objective.layers", "objective.mask_weight", "attention.nss"
               from '{tables/trials/trials.parquet}' join '{tables/arms/fusion.parquet}' using (trial_id) order by 1"""
    for path, copy in local.items():
        query = query.replace(f"{{{path}}}", str(copy))
    assert duckdb.sql(query).fetchall() == [
        ("t1", "mean", "mean", "[1, 2]", 1.0, None),
        ("t2", "max", "max", "[1]", 0.0, 1.0),
    ]
    kept = duckdb.sql(f"select recipe, trial_id from '{local['tables/arms/fusion.parquet']}' order by all").fetchall()
    assert kept == [("other", "t3"), ("tiny", "t1"), ("tiny", "t2")]
    curve = duckdb.sql(f"select * from '{local['tables/metrics/t1.parquet']}'").fetchall()
    assert curve == [("t1", 0, "train.loss", 2.0)]
    store.backend.delete("records/t1.json")
    write_tables(store)
    assert "tables/metrics/t1.parquet" not in store.list_files("tables")


ROUNDS, RACERS = 20, 4


def _race(uri, barrier, results):
    store = SweepStore(uri)
    for number in range(ROUNDS):
        barrier.wait()
        attempt = store.claim(f"t{number}")
        results.put((number, attempt is not None))
    barrier.wait()


@pytest.mark.fault(
    injection="processes claim the same trial at the same moment",
    symptom="two train the same trial",
    expected="right: one claim a trial",
)
def test_of_racing_processes_exactly_one_wins_a_claim(tmp_path):
    barrier, results = FORK.Barrier(RACERS), FORK.Queue()
    racers = [FORK.Process(target=_race, args=(str(tmp_path), barrier, results)) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    answers = [results.get(timeout=120) for _ in range(ROUNDS * RACERS)]
    for racer in racers:
        racer.join()
    wins = [number for number, won in answers if won]
    assert sorted(wins) == list(range(ROUNDS))


def _claim_and_wait(uri, ready):
    with SweepStore(uri).claim("t1").heartbeat():
        ready.set()
        signal.pause()


@pytest.mark.fault(
    injection="kill -9 of the process that holds a claim",
    symptom="a rerun on the machine waits for the claim to time out",
    expected="right: the claim is free at once",
)
def test_after_kill_9_a_rerun_does_not_wait(tmp_path):
    ready = FORK.Event()
    process = FORK.Process(target=_claim_and_wait, args=(str(tmp_path), ready))
    process.start()
    assert ready.wait(60)
    store = SweepStore(str(tmp_path), dead_after_s=1e9)
    assert store.claim("t1") is None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert store.claim("t1").number == 2
    assert store.records() == {}


def test_local_writes_leave_no_temporary_files(tmp_path):
    store = SweepStore(str(tmp_path))
    store.put_create_only("a/b", b"1")
    store.put_create_only("a/b", b"2")
    store.backend.replace("a/b", b"3")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["b"]


def test_errors_say_what_to_do(tmp_path, s3_store_uri, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose a folder you can write to"):
        SweepStore(str(tmp_path / "file" / "store")).check_writable()
    with pytest.raises(StoreError, match=r"gs://.*use a local folder or s3://"):
        SweepStore("gs://bucket/x")
    with pytest.raises(StoreError, match="no bucket"):
        SweepStore("s3://")
    with pytest.raises(StoreError, match="create the bucket"):
        SweepStore("s3://there-is-none/x").check_writable()
    with pytest.raises(StoreError, match="create the bucket"):
        SweepStore("s3://there-is-none/x").records()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match="set AWS_ACCESS_KEY_ID"):
        SweepStore(s3_store_uri).check_writable()


def test_a_backend_reads_measures_and_deletes_many(store):
    for name, data in {"a": b"1", "b/c": b"22", "b/d": b""}.items():
        store.backend.create(f"x/{name}", data)
    assert store.backend.sizes("x") == {"x/a": 1, "x/b/c": 2, "x/b/d": 0}
    assert store.backend.sizes("x/b") == {"x/b/c": 2, "x/b/d": 0}
    assert store.backend.read_many(["x/b/c", "x/none", "x/a"]) == {"x/b/c": b"22", "x/a": b"1"}
    assert store.backend.read_many(["x/none"]) == store.backend.read_many([]) == {}
    assert not store.exists("x/b")
    store.backend.delete_many(["x/a", "x/b/d", "x/none"])
    store.backend.delete_many([])
    assert store.list_files("x") == ["x/b/c"]
