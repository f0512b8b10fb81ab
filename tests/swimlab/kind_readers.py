"""How this project reads each kind of file of the stores that `every_kind` has filled."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from every_kind import LIVE, REQUEST, SET_ASIDE

import measurements
import storm
from swimlab.cli.commands.show import attempts_of
from swimlab.data import decode_part, prepared_clips
from swimlab.data.prepared_clips import PreparedData, StoredClips, load_prepared
from swimlab.data.rewriting import run_record
from swimlab.evaluating import scores
from swimlab.evaluating.parts import StoredGeneration
from swimlab.execution import resume_points, run_times
from swimlab.execution.monitor import Watcher
from swimlab.execution.replay_source import stored_source
from swimlab.execution.search import pruning_rungs
from swimlab.experiment import protocol, run_manifest
from swimlab.experiment.invalidation import Invalidations
from swimlab.experiment.plan import Plan
from swimlab.llm.answer_cache import Answers
from swimlab.store import evaluation_commits, query, snapshot, trial_diff, unused
from swimlab.store.arrow_tables import from_parquet
from swimlab.store.attempts import Attempt
from swimlab.store.errors import StoreError
from swimlab.store.paths import code_path
from swimlab.store.sweep_store import SweepStore


@dataclass(frozen=True)
class Kind:
    """A kind of file: one of them, and `read`, which returns what a user gets of it. `named`: its reader's errors name
    the file; else whoever opens it knows which it is."""

    path: str
    read: Callable[[SweepStore], Any]
    named: bool = True


def of_results(store: SweepStore, plan: Plan) -> dict[str, Kind]:
    """Name → kind, of a store that `every_kind.with_results` has filled."""
    spec = plan.arms[0][1]
    record = store.record(spec.trial_id)
    evaluation_id = spec.evaluations[0].evaluation_id
    (evaluation,) = store.evaluations([evaluation_id]).values()
    prepared = load_prepared(store, spec.clips_fingerprint)
    clips = prepared.folder
    (answer,) = store.list_files("answers")
    (pruned,) = store.list_files("pruned")
    (rung,) = store.list_files("rungs")
    (times,) = store.list_files("runs")
    (declared,) = store.list_files("protocols")
    receipt = next(path for path in store.list_files(f"{clips}/train") if "/done-" in path)
    decoded = SimpleNamespace(receipt=receipt)
    moved = spec.model_copy(update={"code_fingerprint": "0", "trial_id": "0"})
    steps = "attempts/t7/1/steps/5"
    resumed = Attempt(store.backend, "t7", 2, "n")

    def file(name: str) -> Kind:
        return Kind(f"{record.folder}/{name}", lambda store: store.open_file(spec.trial_id, name))

    def of_evaluation(name: str) -> Kind:
        return Kind(f"{evaluation.folder}/{name}", lambda store: store.evaluation_file(evaluation, name))

    def of_clips(path: str, read: Callable[[SweepStore, PreparedData], Any]) -> Kind:
        return Kind(path, lambda store: read(store, load_prepared(store, spec.clips_fingerprint)))

    def checkpoint(store: SweepStore) -> dict[str, bytes]:
        folder = store.download(spec.init_trial_id, "checkpoint/", Path(store.uri).parent / "downloaded")
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    def answers(store: SweepStore) -> Any:
        generation = StoredGeneration.load(store, "g1")
        return generation.receipts(), generation.answers()

    def resume_point(store: SweepStore) -> Any:
        if (point := resume_points.latest(store.backend, resumed, storm.CPU, torch.device("cpu"))) is None:
            return None
        run = storm.Now(7)
        run.go_on(point.run)
        return point.start_weights, point.film, run.step, run.curve, run.weight

    base = f"{store.record(spec.init_trial_id).folder}/checkpoint"
    answered = "generations/g1"
    (part,) = (path for path in store.list_files(answered) if path.endswith(".parquet"))
    snapshots = {k: store.list_files(f"recent/{k}")[-1] for k in ("snapshots", "evaluation_snapshots")}
    return {
        "trial record": Kind(record.path, lambda store: store.record(spec.trial_id)),
        "evaluation record": Kind(evaluation.path, lambda store: store.evaluations([evaluation_id])),
        "evaluation made with the training": Kind(
            f"{record.folder}/evaluations/{evaluation_id}.json",
            lambda store: evaluation_commits.made_with_training(store.backend, record, evaluation_id),
        ),
        "curve": file("metrics.parquet"),
        "film": file("film.parquet"),
        "samples": of_evaluation("samples.parquet"),
        "overlays": of_evaluation("overlays.parquet"),
        "checkpoint weights": Kind(f"{base}/model.safetensors", checkpoint),
        "checkpoint configuration": Kind(f"{base}/config.json", checkpoint),
        "trial snapshot": Kind(snapshots["snapshots"], board),
        "evaluation snapshot": Kind(snapshots["evaluation_snapshots"], board),
        "table of trials": table("tables/trials/trials.parquet"),
        "table of evaluations": table("tables/evaluations/evaluations.parquet"),
        "table of curves": table(f"tables/metrics/{spec.trial_id}.parquet"),
        "table of samples": table(f"tables/samples/{evaluation_id}.parquet"),
        "table of arms": Kind("tables/arms/nano.parquet", query.arms_by_trial),
        "table of measurements": table("tables/measurements/m.parquet"),
        "note of a checkpoint that was not kept": Kind("attempts/unkept/1/dropped.json", why_dropped),
        "step checkpoint: tensors": Kind(f"{steps}/rank-00000.safetensors", resume_point),
        "step checkpoint: curve": Kind(f"{steps}/rank-00000.json", resume_point),
        "step checkpoint: film": Kind(f"{steps}/film.parquet", resume_point),
        "step checkpoint: commit": Kind(f"{steps}/done.json", resume_point),
        "clips manifest": of_clips(f"{clips}/manifest.json", lambda store, prepared: prepared),
        "clips in memory": of_clips(f"{clips}/{prepared.splits['train'][0].name}", read_clips),
        "clips read one by one": of_clips(f"{clips}/{prepared.splits['train'][0].name}", read_rows),
        "clips index": of_clips(f"{clips}/{prepared.index['train'].name}", read_index),
        "quarantined rows": of_clips(
            f"{clips}/{prepared.quarantine.name}",
            lambda store, prepared: prepared_clips.load_quarantine(store, prepared).to_pylist(),
        ),
        "receipt of decoded clips": Kind(receipt, lambda store: decode_part.run(decoded, store)),
        "mark of a row that was set aside": Kind(
            SET_ASIDE.set_aside(1), lambda store: decode_part._is_settled(SET_ASIDE, 1, store)
        ),
        "plan": Kind("plans/nano/nano.json", run_manifest.announcements),
        "protocol": Kind(declared, lambda store: protocol.history(store, "nano", plan.recipe.name)),
        "run times": Kind(times, run_times.read),
        "rung": Kind(rung, lambda store: pruning_rungs.known_rungs(store, "r1", "e1", 4)),
        "pruned trial": Kind(pruned, lambda store: unused.References(store).unused_code()),
        "source archive, run again": Kind(
            code_path(record.code_fingerprint), lambda store: stored_source(store, record).files
        ),
        "source archive, compared": Kind(
            code_path(record.code_fingerprint), lambda store: trial_diff.sources(store, record.code_fingerprint)
        ),
        "source archive, of code that changed": Kind(
            code_path(record.code_fingerprint),
            lambda store: Invalidations(store, [record]).of(moved),
        ),
        "answer of a language model": Kind(answer, lambda store: Answers(store).find(REQUEST)),
        "plan of a generation": Kind(f"{answered}/plan.json", lambda store: StoredGeneration.load(store, "g1").plan),
        "receipt of answers": Kind(f"{answered}/done-000000.json", answers),
        "answers": Kind(part, answers),
        "evaluation of a served model": Kind(
            f"{answered}/evaluations/e9.json", lambda store: scores.of_served(store, "g1", "e9")
        ),
        "rewriting run": Kind("reports/build_nl_refer/b1/summary.json", lambda store: run_record.load(store, "b1")),
        "rejected rows of a rewriting run": Kind(
            "reports/build_nl_refer/b1/rejected.jsonl",
            lambda store: run_record.first_rejects(store, run_record.load(store, "b1"), 5),
        ),
        "measurements": Kind(
            "measurements/m/m1.json", lambda store: measurements.runs(store, "m", measurements.MeasurementRun)
        ),
    }


def of_running() -> dict[str, Kind]:
    """Name → kind, of a store that `every_kind.with_running` has filled."""
    return {
        "claim": Kind("attempts/running/1/claim", live),
        "heartbeat": Kind("attempts/running/1/heartbeat", live),
        "progress": Kind("attempts/grouped/1/progress", live),
        "failure": Kind("attempts/failed/1/failure.json", why_failed),
    }


def board(store: SweepStore) -> Any:
    return snapshot.leaderboard(store).to_pylist()


def table(path: str) -> Kind:
    """A table for other tools; nothing of ours reads it."""
    return Kind(path, lambda store: from_parquet(store.read(path)).to_pylist(), named=False)


def live(store: SweepStore) -> Any:
    """What `watch` and `show` say about a running trial, and whether a driver may take it."""
    (experiment,) = Watcher(store).poll("live")
    statuses = [replace(trial, beat_age_s=None) for trial in experiment.trials]
    return statuses, [(shown_attempts(store, name), store.is_claimed(name)) for name in LIVE]


def shown_attempts(store: SweepStore, trial_id: str) -> Any:
    return [{name: a[name] for name in a if name != "beat"} for a in attempts_of(store, trial_id, None)]


def why_failed(store: SweepStore) -> Any:
    failure = store.failures(["failed"])["failed"]
    documented = {name: failure[name] for name in ("error", "kind", "attempt", "failed_at")}
    return shown_attempts(store, "failed"), documented


def why_dropped(store: SweepStore) -> str:
    with pytest.raises(StoreError) as refused:
        store.download("unkept", "checkpoint/", Path(store.uri))
    return str(refused.value)


def read_clips(store: SweepStore, prepared: PreparedData) -> Any:
    clips = StoredClips(store, prepared, "train")
    return [clip.to_row() for clip in clips.read(range(len(clips.keys)))]


class OneByOne(StoredClips):
    HELD_BYTES = 0


def read_rows(store: SweepStore, prepared: PreparedData) -> Any:
    clips = OneByOne(store, prepared, "train")
    return [clip.to_row() for clip in clips.read(range(len(clips.keys)))]


def read_index(store: SweepStore, prepared: PreparedData) -> Any:
    return prepared_clips.load_index(store, prepared, "train").to_pylist()
