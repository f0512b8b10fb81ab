"""What trackers get is what the store holds; copied once."""

import struct
import sys
from pathlib import Path

import pytest

from swimlab.report import tracked_trials
from swimlab.report.tracked_trials import TrackedTrial
from swimlab.report.trackers import mlflow, tensorboard
from swimlab.store import query
from swimlab.store.arrow_tables import from_parquet, metrics_from_table
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import SweepStore


@pytest.fixture(scope="module")
def chosen(trained_store: SweepStore) -> list[TrackedTrial]:
    rows = query.rows_of_experiment(trained_store, leaderboard(trained_store).to_pylist(), "nano")
    return list(tracked_trials.runs(trained_store, rows))


def events(folder: Path):
    """Events of the one file below a folder: TFRecords, length + checksum + content + checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = folder.glob("events.out.tfevents.*")
    data, at = file.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        yield Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length


def test_event_files_hold_curves_parameters_and_finals(
    chosen: list[TrackedTrial], trained_store: SweepStore, tmp_path: Path
) -> None:
    assert tensorboard.copy(chosen, tmp_path) == (3, 0)
    pool = next(run for run in chosen if run.arm == "pool")
    (folder,) = (tmp_path / "nano").glob("pool-seed-0-*")
    read = list(events(folder))
    values = [(event.step, v.tag, v) for event in read for v in event.summary.value]
    scalars = {(step, tag): v.simple_value for step, tag, v in values if v.WhichOneof("value") == "simple_value"}
    stored = metrics_from_table(from_parquet(trained_store.open_file(pool.record.trial_id, "metrics.parquet")))
    for point in stored:
        assert scalars[point.step, f"train/{point.name}"] == pytest.approx(point.value, rel=1e-6)  # float32 in there
    for name, value in pool.record.metrics.items():
        assert scalars[4, f"final/{name}"] == pytest.approx(value, rel=1e-6)
    started = [v.metadata.plugin_data.content for _, tag, v in values if tag == "_hparams_/session_start_info"]
    assert len(started) == 1
    assert b"objective.fusion" in started[0]
    assert b"max" in started[0]
    # Again: everything is there, and no second file doubles the curves.
    assert tensorboard.copy(chosen, tmp_path) == (0, 3)
    assert len(list(folder.iterdir())) == 1


@pytest.mark.fault(
    injection="Ctrl-C in the middle of an export to TensorBoard",
    symptom="half a run counts as copied, or curves are doubled",
    expected="right: the rest is copied",
)
def test_a_copy_that_was_cut_off_is_made_again(chosen: list[TrackedTrial], tmp_path: Path) -> None:
    def cut(runs):
        yield runs[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tensorboard.copy(cut(chosen), tmp_path)
    assert tensorboard.copy(chosen, tmp_path) == (2, 1)


def test_without_mlflow_it_says_what_to_install(chosen: list[TrackedTrial], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow", "mlflow.exceptions", "mlflow.tracking"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match="pip install mlflow"):
        mlflow.copy(chosen, "sqlite://")


def test_mlflow_runs(chosen: list[TrackedTrial], tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    assert mlflow.copy(chosen, uri) == (3, 0)
    assert mlflow.copy(chosen, uri) == (0, 3)
    client = mlflow.tracking.MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name("nano").experiment_id])
    by_trial = {run.data.tags[tracked_trials.TRIAL_TAG]: run for run in found}
    for run in chosen:
        copy = by_trial[run.record.trial_id]
        assert copy.data.params["objective.fusion"] == run.record.recipe["objective"]["fusion"]
        assert copy.data.metrics["final/answer.loss"] == run.record.metrics["answer.loss"]
        curve = client.get_metric_history(copy.info.run_id, "train/loss")
        assert [(m.step, m.value) for m in curve] == [(p.step, p.value) for p in run.curve if p.name == "loss"]
