"""Two small real stores with a file of every kind that this project reads back: one with results, one with trials that
run."""

import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trained
from store_kit import plausible_record

import measurements
import nano
import storm
from swim.evaluation.decoding import Decoding
from swim.outputs import Answer as ModelAnswer
from swim.recipe import NLReferFiles
from swimlab.data import decode_part
from swimlab.data.rewriting import run_record
from swimlab.data.rewriting.run_record import Built
from swimlab.evaluating.generation import Generation, ServedModel
from swimlab.evaluating.parts import StoredGeneration
from swimlab.evaluating.scores import ServedEvaluation
from swimlab.execution import run_times, step_checkpoints
from swimlab.execution.run_times import RunTimes
from swimlab.execution.search import pruning_rungs
from swimlab.execution.search.pruning_rungs import PrunedRecord, Rung
from swimlab.experiment import protocol, run_manifest
from swimlab.experiment.plan import Plan, make_plan
from swimlab.experiment.run_manifest import AnnouncedTrial, RunManifest
from swimlab.experiment.run_settings import Settings
from swimlab.llm.answer_cache import Answer, Answers, CompletionUsage
from swimlab.store.paths import code_path
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import SweepStore

LIVE = ("running", "grouped")
SET_ASIDE = SimpleNamespace(last_try=True, set_aside=lambda row: f"clips/s/train/set-aside-{row}")
SERVED = ServedModel(model="vlm")
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Which ball?"}]}


def with_results(store: SweepStore, trained_store: SweepStore, cache: Path) -> Plan:
    """Fills a store: real nano trials (those of the fixture `trained_store`), and beside them what searches,
    measurements, rewriting and killed trials leave. Returns the trials' plan."""
    shutil.copytree(trained_store.uri, store.uri)
    cache.mkdir()
    settings = Settings(store=store.uri, cache=cache)
    plan = make_plan(nano.ablation(seeds=(0,), arms=trained.ARMS), nano.recipe(steps=4), settings)
    protocol.declare(plan, store)
    record = store.record(plan.arms[0][1].trial_id)
    assert record is not None
    times = RunTimes(started_at="2026-01-01", experiments=("nano",), wall_s=12.5, prepare_s=0.25, waves=())
    run_times.write(store, times)
    _of_a_search(store, record)
    _of_a_rewriting(store, cache, record.provenance)
    _of_measurements(store, record.provenance)
    _of_answers(store, record.provenance)
    _killed(store)
    _not_kept(store, cache)
    write_tables(store)
    return plan


def _of_a_search(store: SweepStore, record: Any) -> None:
    about = {name: getattr(record, name) for name in PrunedRecord.model_fields if hasattr(record, name)}
    rung = {"trial_id": "r1", "evaluation_id": "e1", "step": 5, "clips": 4, "metrics": {"attention.ap": 0.123}}
    pruning_rungs.put_rung(store, Rung(**rung))
    pruned = about | rung | {"schema_version": 1, "search": "s", "objective": "attention.ap", "rungs": {5: 0.123}}
    code = {"code_fingerprint": "pruned"}  # an archive that only this result needs
    store.put_create_only(code_path("pruned"), b"of the pruned trial")
    pruning_rungs.put_pruned(store, PrunedRecord(**pruned | code))


def _of_a_rewriting(store: SweepStore, folder: Path, about: Any) -> None:
    usage = CompletionUsage(prompt_tokens=12, completion_tokens=3)
    Answers(store).put(REQUEST, Answer(text="the red ball", usage=usage, model="m"))
    rejected = folder / "rejected.jsonl"
    rejected.write_text('{"row": 1, "reason": "no noun"}\n')
    built = Built(run_id="b1", command="run", settings={}, provenance=about, wall_s=1.5, outputs={}, tally={"rows": 3})
    run_record.commit(store, built, rejected)


def _of_measurements(store: SweepStore, about: Any) -> None:
    row = measurements.Measurement(scheme="a", size="small", round=1, time_s=0.5)
    fields = {"experiment": "m", "run_id": "m1", "machine": "cpu", "settings": {}, "provenance": about, "rows": (row,)}
    measurements.commit(store, measurements.MeasurementRun(**fields))


def _of_answers(store: SweepStore, about: Any) -> None:
    """What a served model answered to two clips, and its scores."""
    data = NLReferFiles(annotations=("bench.json",), videos=".")
    prints = dict.fromkeys(("data_fingerprint", "clips_fingerprint", "code_fingerprint"), "f")
    fields = {"answerer": SERVED, "recipe": None, "data": data, "arm": "text", "system": None, "decoding": Decoding()}
    generation = Generation(generation_id="g1", **fields, **prints)
    answer = ModelAnswer(key="k", turn=0, question="What?", text="A ball.", finish="stop", leads=(1.5,))
    StoredGeneration.create(store, generation, clips=2, part_clips=2).put(0, [answer], {"engine": "server"}, 0.5)
    scores = {"suite": "s", "config": {}, "metrics": {"s.avg": 2.5}, "files": {}, "eval_s": 0.5, "provenance": about}
    record = ServedEvaluation(evaluation_id="e9", target=SERVED, code_fingerprint="f", data_fingerprint="f", **scores)
    store.put_create_only("generations/g1/evaluations/e9.json", record.to_json())


def with_running(store: SweepStore) -> None:
    """Fills a store: trials that run, in a process or in a group of workers, and one that failed."""
    store.claim("failed").fail("ValueError: a loss that is no number", "ValueError")
    trials = tuple(AnnouncedTrial(trial_id=name, arm="a", seed=0, steps=40, shown=True) for name in LIVE)
    live = {"experiment": "live", "recipe": "nano", "announced_at": "2026", "metric": "attention.ap", "claims": ()}
    run_manifest.write(RunManifest(**live, trials=trials), store)
    report = {"stage": "train", "step": 10, "steps": 40, "loss": 1.25}
    running, grouped = map(store.claim, LIVE)
    with running.heartbeat(interval_s=0.01) as beat, grouped.heartbeat():
        grouped.progress_file().tell(report)
        beat.tell(report)
        while b"progress" not in store.read(f"{running.folder}/heartbeat"):
            time.sleep(0.01)


def _killed(store: SweepStore) -> None:
    """A trial that saved a step, and a row that a machine could not decode."""
    killed, run = store.claim("t7"), storm.Now(7)
    for _ in range(5):
        run.advance()
    with step_checkpoints.StepCheckpoints(killed, storm.CPU, every_s=0) as saved:
        saved.save(run, [], "weights")
    assert not decode_part._is_settled(SET_ASIDE, 1, store)


def _not_kept(store: SweepStore, folder: Path) -> None:
    """A trial whose checkpoint was not kept."""
    attempt, weights = store.claim("unkept"), folder / "weights"
    weights.mkdir()
    (weights / "w").write_bytes(b"12345")
    attempt.record_without_storing(weights, "checkpoint", "run with --keep-checkpoints bases")
    fields = {"trial_id": "unkept", "attempt": attempt.number, "nonce": attempt.nonce, "files": attempt.files}
    assert store.commit(attempt, plausible_record(**fields))
