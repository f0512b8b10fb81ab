"""Trials and evaluations without training, for tests of the store, and damage to its files."""

import random
from typing import Any

from swim.outputs import SampleScore
from swimlab.store.arrow_tables import samples_table, to_parquet
from swimlab.store.evaluation_records import EvaluationRecord, TrialTarget
from swimlab.store.leases import Owner
from swimlab.store.newest_results import newest_results
from swimlab.store.records import Cost, Provenance, TrialRecord
from swimlab.store.snapshot import leaderboard

CONFIG = {"attributes": ["colour"]}
ELSEWHERE = Owner(host="elsewhere", realm="boot-2/pid:[1]", pid=1, started_ticks=0)


def ended_owner() -> Owner:
    """A process of this machine that has ended."""
    return Owner.current().model_copy(update={"started_ticks": 0})


def plausible_record(**changes: Any) -> TrialRecord:
    """A record of a trial; keywords replace fields."""
    fields: dict[str, Any] = {
        "trial_id": "t1",
        "attempt": 1,
        "nonce": "n",
        "recipe": {
            "name": "tiny",
            "seed": 0,
            "objective": {"fusion": "mean", "layers": [1, 2], "mask_weight": 1.0},
        },
        "recipe_name": "tiny",
        "seed": 0,
        "init_trial_id": None,
        "code_fingerprint": "c",
        "data_fingerprint": "d",
        "metrics": {"attention.ap": 0.5},
        "files": {},
        "cost": Cost(wall_s=1.0, cpu_s=1.0, train_s=0.5, eval_s=0.5, peak_rss_bytes=1),
        "provenance": Provenance(
            git_sha=None,
            git_dirty=None,
            versions={"torch": "2"},
            host="h",
            numerics={"torch": "2", "device": "cpu", "world_size": 1},
            started_at="2026-01-01T00:00:00+00:00",
            finished_at="2026-01-01T00:00:01+00:00",
        ),
    }
    return TrialRecord(**fields | changes)


def samples(value: float) -> bytes:
    score = SampleScore(key="k", turn=0, tag=-1, noun="", metric="attention.ap", value=value)
    return to_parquet(samples_table([score]))


def flipped(data: bytes, rng: random.Random, at: int | None = None) -> bytes:
    """One bit of the data flips: of the byte `at`, else of any."""
    at = rng.randrange(len(data)) if at is None else at
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def row_of(store, trial_id="t1"):
    return {row["trial_id"]: row for row in leaderboard(store).to_pylist()}[trial_id]


def all_results(store):
    """Trial id → the trial with its newest evaluation by each suite, of all trials."""
    return newest_results(store, store.trial_ids())


def record_of(attempt, trial_record, **changes):
    return trial_record(
        trial_id=attempt.trial_id, attempt=attempt.number, nonce=attempt.nonce, files=attempt.files, **changes
    )


def committed(store, trial_record, trial_id="t1", files=(), **changes):
    attempt = store.claim(trial_id)
    for name, data in dict(files).items():
        attempt.put(name, data)
    assert store.commit(attempt, record_of(attempt, trial_record, **changes))
    return attempt


def evaluation_of(made_in, target, provenance, evaluation_id="e1", **changes):
    """An evaluation record with one metric, made in this attempt; keywords replace fields."""
    fields = {
        "evaluation_id": evaluation_id,
        "suite": "attention",
        "config": CONFIG,
        "target": target,
        "suite_fingerprint": "suite-1",
        "code_fingerprint": "suite-code",
        "data_fingerprint": "d",
        "metrics": {"attention.ap": 0.5},
        "folder": made_in.folder,
        "files": {},
        "attempt": made_in.number,
        "nonce": made_in.nonce,
        "eval_s": 1.5,
        "provenance": provenance,
    }
    return EvaluationRecord(**fields | changes)


def trained(store, trial_record, trial_id="t1", evaluation_id="e1", files=(), **changes):
    """A committed trial that was evaluated right after training, in the files of its attempt; not published yet."""
    attempt = store.claim(trial_id)
    provenance = trial_record().provenance
    entries = {}
    for name, data in dict(files).items():
        entries[name] = attempt.put(f"evaluations/{evaluation_id}/{name}", data)
    target = TrialTarget(trial_id=trial_id, attempt=attempt.number, nonce=attempt.nonce)
    folder = f"{attempt.folder}/evaluations/{evaluation_id}"
    evaluation = evaluation_of(attempt, target, provenance, evaluation_id, folder=folder, files=entries, **changes)
    attempt.put(f"evaluations/{evaluation_id}.json", evaluation.to_json())
    record = record_of(attempt, trial_record, metrics={"train.loss": 1.0})
    assert store.commit(attempt, record)
    return record


def evaluated(store, record, evaluation_id="e1", files=(), about=None, **changes):
    """An evaluation of a trial's stored weights in an attempt of its own, committed."""
    target = TrialTarget.of(record)
    attempt = store.claim(evaluation_id, target)
    for name, data in dict(files).items():
        attempt.put(name, data)
    evaluation = evaluation_of(
        attempt, target, about or record.provenance, evaluation_id, files=attempt.files, **changes
    )
    assert store.commit_evaluation(attempt, evaluation)
    return evaluation


def trained_again(store, trial_record, record, **changes):
    """The trial after somebody deleted its record and ran it again."""
    store.backend.delete(record.path)
    store.backend.create(f"{record.folder}/failure.json", b'{"error": "its process ended", "kind": "Killed"}')
    return trained(store, trial_record, record.trial_id, **changes)


def evaluated_as_planned(store, spec, metrics, **changes):
    """The evaluations that the plan of a committed trial names, all with these metrics."""
    record = store.record(spec.trial_id)
    for evaluation in spec.evaluations:
        fields = evaluation.model_dump() | {"data_fingerprint": spec.data_fingerprint, "metrics": metrics}
        evaluated(store, record, **fields | changes)


def completed(store, spec, metrics):
    """A trial of a plan and its evaluations, committed without training."""
    recipe = spec.recipe.model_dump(mode="json", exclude={"evaluation"})
    named = {name: getattr(spec, name) for name in ("seed", "init_trial_id", "code_fingerprint", "data_fingerprint")}
    committed(store, plausible_record, spec.trial_id, recipe=recipe, recipe_name=spec.recipe.name, metrics={}, **named)
    evaluated_as_planned(store, spec, metrics)
