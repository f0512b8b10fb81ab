"""A stored trial comes out the same again, by the code it was made with; what was tampered with does not."""

import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import pytest

from swim.recipe import NLReferFiles
from swimlab import __main__
from swimlab.execution import replay
from swimlab.identity.source_closure import SOURCE_ROOT
from swimlab.store.arrow_tables import from_parquet, metrics_from_table, metrics_table, to_parquet
from swimlab.store.records import FileEntry, TrialRecord
from swimlab.store.sweep_store import StoreError, SweepStore


def of_arm(store: SweepStore, **objective: object) -> TrialRecord:
    (found,) = [
        record
        for record in store.records().values()
        if record.init_trial_id and all(record.recipe["objective"][k] == v for k, v in objective.items())
    ]
    return found


@pytest.fixture
def copied(trained_store: SweepStore, tmp_path: Path) -> SweepStore:
    shutil.copytree(trained_store.uri, tmp_path / "store")
    return SweepStore(str(tmp_path / "store"))


def swimlab(*argv: str) -> int:
    with pytest.raises(SystemExit) as ended:
        __main__.main(argv)
    return int(ended.value.code or 0)


def test_a_trial_replays_equal(trained_store: SweepStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = of_arm(trained_store, mask_weight=1.0, fusion="mean")
    flags = ("--store", trained_store.uri, "--cache", str(tmp_path))
    assert swimlab("replay", record.trial_id[:9], *flags) == 0
    printed = capsys.readouterr().out
    assert "EQUAL: 4 of 4 steps" in printed
    assert "numerics class is the same" in printed


def test_a_control_replays_equal(trained_store: SweepStore, tmp_path: Path) -> None:
    record = of_arm(trained_store, mask_weight=0.0)
    assert replay.replay(trained_store, record, steps=2, cache=tmp_path).equal


def test_a_tampered_curve_is_found_and_its_step_named(copied: SweepStore, tmp_path: Path, capsys) -> None:
    record = of_arm(copied, mask_weight=1.0, fusion="mean")
    points = metrics_from_table(from_parquet(copied.open_file(record.trial_id, "metrics.parquet")))
    moved = [
        p.model_copy(update={"value": p.value * (1 + 1e-15)}) if (p.step, p.name) == (2, "loss") else p for p in points
    ]
    assert moved != points
    data = to_parquet(metrics_table(moved))
    path = f"attempts/{record.trial_id}/{record.attempt}/metrics.parquet"
    copied.backend.replace(path, data)
    with pytest.raises(StoreError, match="altered"):  # as long as the record tells the truth
        replay.replay(copied, record, cache=tmp_path)
    entry = FileEntry(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    group = record.provenance.model_copy(update={"numerics": record.provenance.numerics | {"world_size": 2}})
    forged = record.model_copy(update={"files": record.files | {"metrics.parquet": entry}, "provenance": group})
    copied.backend.replace(f"records/{record.trial_id}.json", forged.model_dump_json().encode())
    flags = ("--store", copied.uri, "--cache", str(tmp_path), "--steps", "3")
    assert swimlab("replay", record.trial_id[:9], *flags) == 1
    printed = capsys.readouterr().out
    assert "DIFFERENT from step 2 of 4: loss was" in printed
    before, _, after = printed.partition("DIFFERENT")
    assert "numerics class differs: world_size 2 then, 1 now" in before
    assert "that is to be expected, for the numerics class differs (world_size)" in after


def test_what_runs_is_the_stored_code(copied: SweepStore, tmp_path: Path) -> None:
    record = of_arm(copied, mask_weight=1.0, fusion="max")
    path = f"code/{record.code_fingerprint}.tar.gz"
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(copied.read(path)), mode="r:gz") as source,
        tarfile.open(fileobj=buffer, mode="w:gz") as target,
    ):
        for member in source:
            data = source.extractfile(member).read()
            if member.name == "swim/train.py":
                data = data.replace(b"return optim.lr * (step + 1)", b"return 2 * optim.lr * (step + 1)")
            member.size = len(data)
            target.addfile(member, io.BytesIO(data))
    copied.backend.replace(path, buffer.getvalue())
    result = replay.replay(copied, record, steps=2, cache=tmp_path)
    assert not result.equal
    assert result.first[:2] == (1, "lr")
    assert result.first[3] == 2 * result.first[2]
    assert result.compared_steps == 2
    assert not result.numerics


def test_what_is_gone_is_named(copied: SweepStore, tmp_path: Path) -> None:
    record = of_arm(copied, mask_weight=1.0, fusion="mean")
    copied.backend.delete(f"code/{record.code_fingerprint}.tar.gz")
    with pytest.raises(StoreError, match="without its code"):
        replay.replay(copied, record, cache=tmp_path)


def test_other_files_than_the_trial_saw_are_refused(tmp_path: Path, trial_record) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text("[]")
    data = NLReferFiles(annotations=(str(rows),), videos=str(tmp_path)).model_dump(mode="json")
    record = trial_record(recipe={"data": data}, data_fingerprint="other")
    store = SweepStore(str(tmp_path / "store"))
    with pytest.raises(ValueError, match=r"rows\.json .*record says other: bring those back"):
        replay._prepared(store, record, SOURCE_ROOT, tmp_path / "cache", print)


def test_a_recipe_is_read_by_what_was_archived(trial_record) -> None:
    from swim.recipes import tiny

    stored = tiny().override({"objective.mask_weight": 0.0, "objective.layers": "even:2"}).model_dump(mode="json")
    plain = replay.runnable(stored)
    assert plain["objective"] == {"text_weight": 0.05, "mask_weight": 0.0, "layers": [1, 3]}
    assert plain["evaluation"]["readout"]["layers"] == [1, 2]
    assert plain["init"] is None
    assert stored["init"] is not None
