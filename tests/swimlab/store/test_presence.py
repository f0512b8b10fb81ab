"""What is committed, without reading every record: also where files were deleted or copied by hand."""

import shutil

import pytest
import store_kit

from swimlab.store.presence import Presence
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import SweepStore


def test_it_says_what_the_records_say(tmp_path, trial_record):
    store = SweepStore(str(tmp_path / "a"))
    assert Presence.read(store).trials == {}
    for number in range(3):
        record = store_kit.trained(store, trial_record, f"t{number}", f"e{number}")
        store.publish(record, f"e{number}")
        if number == 1:
            write_tables(store)  # the third is newer than the snapshot
    present, records = Presence.read(store), store.records()
    assert present.trials == {name: record.nonce for name, record in records.items()}
    assert present.evaluated == {name: record.target.nonce for name, record in store.evaluations().items()}
    assert present.column("attention.ap") == {"t0": 0.5, "t1": 0.5, "t2": 0.5}
    assert present.column("no such metric") == {}


@pytest.mark.fault(
    injection="records deleted and copied in by hand behind the snapshot's back",
    symptom="deleted trials stay in plan and table, copied ones are missing",
    expected="right: what is there counts",
)
def test_what_was_deleted_or_copied_by_hand_counts_at_once(tmp_path, trial_record):
    store, other = SweepStore(str(tmp_path / "a")), SweepStore(str(tmp_path / "b"))
    for number in range(2):
        store_kit.committed(store, trial_record, f"t{number}")
    write_tables(store)
    store_kit.committed(other, trial_record, "t9", seed=9)
    shutil.copy(tmp_path / "b/records/t9.json", tmp_path / "a/records/t9.json")
    (tmp_path / "a/records/t0.json").unlink()
    present = Presence.read(store)
    assert set(present.trials) == {"t1", "t9"}
    assert present.column("seed") == {"t1": 0, "t9": 9}


def test_a_trial_that_was_trained_again_is_of_its_new_weights(tmp_path, trial_record):
    store = SweepStore(str(tmp_path))
    record = store_kit.trained(store, trial_record)
    store.publish(record, "e1")
    write_tables(store)
    again = store_kit.trained_again(store, trial_record, record)
    present = Presence.read(store)
    assert present.trials == {"t1": again.nonce}
    assert present.evaluated["e1"] == record.nonce  # of weights that the trial no longer has
