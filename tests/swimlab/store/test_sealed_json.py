"""A stored number is the number that was written, or an error that names its file."""

import json
import random

import pytest
from store_kit import committed, evaluated, evaluation_of, flipped, record_of, trained

from swimlab.data.prepared_clips import PipelineError, PreparedData, StoredTable, load_prepared
from swimlab.execution.run_times import RunTimes
from swimlab.execution.search import pruning_rungs
from swimlab.execution.search.pruning_rungs import PrunedRecord, Rung
from swimlab.experiment import run_manifest
from swimlab.experiment.protocol import Declaration
from swimlab.experiment.run_manifest import RunManifest
from swimlab.store import garbage_collection, sealed_json
from swimlab.store.evaluation_records import TrialTarget, read_evaluation
from swimlab.store.garbage_collection import Rules
from swimlab.store.records import read_record
from swimlab.store.sweep_store import StoreError

FLIPS = 1000


TABLE = StoredTable(name="t", rows=3, size_bytes=1, memory_bytes=2, sha256="f" * 64)
PREPARED = PreparedData(
    fingerprint="f",
    stored=True,
    splits={"train": (TABLE,)},
    index={"train": TABLE},
    held_out="train",
    quarantine=TABLE,
    quarantined={"mask": 2},
)
RUNG = Rung(trial_id="t1", evaluation_id="e1", step=5, clips=16, metrics={"attention.ap": 0.123})
MANIFEST = RunManifest(
    experiment="fusion", recipe="tiny", announced_at="2026", metric="attention.ap", claims=(), trials=(), unproposed=1
)
DECLARATION = Declaration(
    number=1, hash="h", declared_at="2026", results_before=0, trials=("t1",), protocol={"ablation": "fusion", "a": 1.5}
)
TIMES = RunTimes(started_at="2026", experiments=("fusion",), wall_s=12.5, prepare_s=0.25, waves=())


@pytest.fixture(params=["trial", "evaluation", "rung", "clips", "plan", "protocol", "run"])
def stored(request, store, trial_record):
    """A model with numbers, and how its file is read."""
    record = trial_record(metrics={"attention.ap": 0.123, "train.loss": 1e-05})
    attempt = store.claim("t1")
    return {
        "trial": (record, read_record),
        "evaluation": (evaluation_of(attempt, TrialTarget.of(record), record.provenance), read_evaluation),
        "rung": (RUNG, Rung.from_json),
        "clips": (PREPARED, PreparedData.from_json),
        "plan": (MANIFEST, RunManifest.from_json),
        "protocol": (DECLARATION, Declaration.from_json),
        "run": (TIMES, RunTimes.from_json),
    }[request.param]


@pytest.mark.parametrize("uri", ["local"], indirect=True)
def test_no_flipped_bit_changes_a_number_in_silence(stored):
    model, read = stored
    data, rng, silent = model.to_json(), random.Random(0), []
    assert read(data) == model
    for _ in range(FLIPS):
        damaged = flipped(data, rng)
        try:
            if read(damaged) != model:
                silent.append(damaged)
        except ValueError:
            continue
    assert silent == []


def test_the_order_of_fields_and_white_space_do_not_matter(trial_record):
    record = trial_record()
    tree = json.loads(record.to_json())
    assert read_record(json.dumps(dict(reversed(tree.items()))).encode()) == record
    with pytest.raises(ValueError, match=r"it has no digest.*delete it to run the trial again"):
        read_record(json.dumps({k: v for k, v in tree.items() if k != sealed_json.DIGEST}).encode())


def test_a_record_with_another_digit_is_named(store, trial_record):
    committed(store, trial_record, metrics={"attention.ap": 0.76})
    store.backend.replace("records/t1.json", store.read("records/t1.json").replace(b"0.76", b"9.76"))
    for read in (store.records, lambda: store.record("t1"), lambda: garbage_collection.find(store)):
        with pytest.raises(StoreError, match=r"records/t1\.json .*damaged .*digest does not fit.*backup, or delete it"):
            read()


def test_a_record_that_was_copied_over_another_is_named(store, trial_record):
    record = trained(store, trial_record, "t1")
    committed(store, trial_record, "t2")
    evaluated(store, record, "e2")
    evaluated(store, record, "e3")
    store.backend.replace("records/t1.json", store.read("records/t2.json"))
    store.backend.replace("evaluations/e2.json", store.read("evaluations/e3.json"))
    with pytest.raises(StoreError, match=r"records/t1\.json is the record of t2: it was copied or renamed; restore"):
        store.record("t1")
    with pytest.raises(StoreError, match=r"evaluations/e2\.json is the record of e3: it was copied or renamed"):
        store.evaluations()


@pytest.mark.fault(
    injection="a plan, rung or pruned trial is emptied, cut, or another's copy",
    symptom="numbers of another data set, or an error that names no file",
    expected="error names the file and says to delete it",
    reference="F13",
)
def test_clips_plans_rungs_and_pruned_trials_that_are_damaged_or_copied_are_named(store, trial_record):
    about = trial_record()
    pruned = PrunedRecord(
        search="s", objective="attention.ap", rungs={5: 0.1}, attempt=1,
        **{name: getattr(RUNG, name) for name in ("trial_id", "evaluation_id", "step", "clips", "metrics")},
        **{n: getattr(about, n) for n in PrunedRecord.model_fields if n in type(about).model_fields and n not in (
            "schema_version", "trial_id", "attempt", "metrics")},
    )  # fmt: skip
    pruning_rungs.put_rung(store, RUNG)
    pruning_rungs.put_pruned(store, pruned)
    run_manifest.write(MANIFEST, store)
    store.put_create_only("clips/f/manifest.json", PREPARED.to_json())
    assert pruning_rungs.known_rungs(store, "t1", "e1", 16) == {5: RUNG}
    assert load_prepared(store, "f") == PREPARED
    assert run_manifest.announcements(store) == [MANIFEST]
    readers = {
        RUNG.path: lambda trial_id: pruning_rungs.known_rungs(store, trial_id, "e1", 16),
        "plans/fusion/tiny.json": lambda _: run_manifest.announcements(store),
        "clips/f/manifest.json": lambda name: load_prepared(store, "f" if name == "t1" else name),
    }
    for path, read in readers.items():
        content = store.read(path)
        for damaged in (b"", b"[]", content[: len(content) // 2], content.replace(b'"digest": "', b'"digest": "0')):
            store.backend.replace(path, damaged)
            with pytest.raises((StoreError, PipelineError), match=rf"{path} is .*damaged.*delete"):
                read("t1")
        store.backend.replace(path, content)
        copied = path.replace("t1", "t2").replace("tiny", "small").replace("/f/", "/t2/")
        store.put_create_only(copied, content)
        with pytest.raises((StoreError, PipelineError), match=rf"{copied} is .*(that|manifest) of "):
            read("t2")
        store.backend.delete(copied)
    store.backend.replace(pruned.path, pruned.to_json().replace(b"0.1", b"0.9"))
    with pytest.raises(StoreError, match=rf"{pruned.path} is no pruned trial, or is damaged"):
        garbage_collection.find(store, Rules(code=True))


def test_a_record_of_version_1_has_no_digest(trial_record):
    tree = json.loads(trial_record(schema_version=1).model_dump_json())
    assert read_record(json.dumps(tree).encode()) == trial_record()


def test_commit_writes_the_digest(store, trial_record):
    attempt = store.claim("t1")
    record = record_of(attempt, trial_record)
    store.commit(attempt, record)
    assert store.read("records/t1.json") == record.to_json()
    assert store.record("t1") == record
