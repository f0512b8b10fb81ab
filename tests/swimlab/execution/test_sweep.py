"""The whole path through Ray Data, Ray Train and Ray Tune, on two CPUs and a nano recipe."""

import json
import os
import re
import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from fault_table import fault
from store_kit import ELSEWHERE, all_results
from sweep_process import decided

import nano
from swim.recipe import Recipe
from swimlab import Arm
from swimlab.cli import experiment_file
from swimlab.cli.commands.show import attempts_of
from swimlab.execution import cluster, run_times
from swimlab.execution.step_checkpoints import Saving
from swimlab.execution.train_loop import TrialOutcome, train_loop
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.store import arrow_tables
from swimlab.store.sweep_store import StoreError, SweepStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

REPO = Path(__file__).parents[3]
DEFAULTS = {"micro_batch": None, "shard": False, "decode_cpus": 0, "features": None, "gate": None, "pruner": None}
DEFAULTS["saving"] = Saving(every_s=0)
OFTEN = 1e-4  # minutes
DEATHS = {
    signal.SIGSEGV: r"process \d+ died of SIGSEGV \(its log: .*\.err\)",
    signal.SIGKILL: r"process \d+ was killed: it left no word, as with SIGKILL.*Ray's logs: /.*/logs\)",
}


def run(ablation: Ablation, store: str, tmp_path: Path, recipe: Recipe, **settings: Any) -> int:
    chosen = Settings(store=store, cache=tmp_path / "cache", **settings)
    with pytest.raises(SystemExit) as ended:
        experiment_file.run([ablation], chosen, lambda: recipe)
    return int(ended.value.code or 0)


def check_sweep(
    store: str,
    seeds: tuple[int, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ablation, trials, bases = nano.ablation(seeds=seeds, replicate="world"), 2 * len(seeds), len(seeds)
    assert run(ablation, store, tmp_path, nano.recipe()) == 0
    log = capsys.readouterr().out
    assert f"0 of {trials} trials cached, {trials + bases} to run" in log
    assert len(re.findall(r"  nano-base · seed \d: done \(\d of \d\)\n", log)) == bases  # no number is worth showing
    shown = re.findall(rf"^  (swim|control) · seed \d: done \(\d of {trials}\), attention.ap (\S+)$", log, re.MULTILINE)
    records = all_results(SweepStore(store))
    scores = [r.metrics["attention.ap"] for r in records.values() if r.init_trial_id]
    assert sorted(number for _, number in shown) == sorted(f"{score:.3f}" for score in scores)
    assert len(records) == trials + bases  # two arms in each world, and the base they share there
    starts = {(r.init_trial_id, r.seed) for r in records.values() if r.init_trial_id in records}
    assert len(starts) == len({r.data_fingerprint for r in records.values()}) / 2 == bases
    for record in records.values():
        assert decided(record)
        assert record.metrics["answer.accuracy"] >= 0
        assert all(name.startswith("train.") for name in SweepStore(store).record(record.trial_id).metrics)
        assert record.cost.wall_s > 0
        assert min(record.cost.tokens_per_s, record.cost.model_flops_per_s) > 0
        assert (record.cost.mfu, record.cost.peak_device_bytes) == (None, None)  # of a CPU
    assert cluster.whole()
    (times,) = run_times.read(SweepStore(store))
    assert [len(wave.occupied_s) for wave in times.waves] == [bases, trials]
    cost = run_times.overhead(times, records)
    assert (cost.trials, min(cost.per_trial_s) > 0) == (trials + bases, True)
    assert times.wall_s > times.prepare_s + times.waves[1].wall_s >= cost.compute_s / 2
    monkeypatch.setattr(cluster, "ray_session", lambda: pytest.fail("a cached run started Ray"))
    assert run(ablation, store, tmp_path, nano.recipe()) == 0
    printed = capsys.readouterr().out
    assert f"{trials} of {trials} trials cached, 0 to run" in printed


def test_a_sweep_ends_with_a_table_and_is_cached(
    two_cpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_sweep(str(tmp_path / "store"), (0, 1), tmp_path, capsys, monkeypatch)
    trials = ds.dataset(tmp_path / "store/tables/trials").to_table().to_pylist()
    assert {t["objective.mask_weight"] for t in trials if t["recipe_name"] == "nano"} == {0.0, 1.0}
    samples = ds.dataset(tmp_path / "store/tables/samples").to_table()
    assert {"trial_id", "key", "noun", "metric", "value"} <= set(samples.column_names)
    assert "Each seed is a world of its own" in (tmp_path / "store/reports/nano/nano/index.html").read_text()


@pytest.mark.fault(
    injection="the network of a trial breaks in mid-training",
    symptom="it starts from step 0, or ends with other bytes",
    expected="right: goes on from its last step to the same bytes",
)
def test_a_trial_that_dies_goes_on_from_its_last_step(two_cpus: None, tmp_path: Path) -> None:
    """Its files are those of a trial that nobody stopped; what it left on the way is gone."""
    recipe = nano.recipe(steps=25, base=False)
    one = nano.ablation(seeds=(0,), arms=(Arm("swim"),))
    assert run(one, str(tmp_path / "store"), tmp_path, recipe, keep_checkpoints="bases") == 0
    store = SweepStore(str(tmp_path / "store"))
    (whole,) = store.records().values()
    with pytest.raises(StoreError, match=r"not kept .*--keep-checkpoints bases"):
        store.download(whole.trial_id, "checkpoint/", tmp_path / "checkpoint")
    film = arrow_tables.film_from_table(arrow_tables.from_parquet(store.open_file(whole.trial_id, "film.parquet")))
    assert [frame.step for frame in film[:: recipe.evaluation["attention"].overlays]] == [0, 10, 20]
    (spec,) = make_plan(one, recipe, Settings(store=store.uri, cache=tmp_path / "cache")).waves[0]
    store.backend.delete(f"records/{spec.trial_id}.json")
    shutil.rmtree(tmp_path / "store/attempts")

    def attempt(until: int) -> dict[str, Any] | None:
        claimed = store.claim(spec.trial_id)
        assert claimed

        def report(values: dict[str, Any]) -> None:
            if values["step"] == until:
                raise ConnectionError("the node is gone")

        config = {"spec": spec.model_dump_json(), "store": store.uri, "attempt": claimed.number, "nonce": claimed.nonce}
        local = {"report": report, "gpu": False}
        try:
            return train_loop(config | DEFAULTS | {"local": local})
        except ConnectionError:
            claimed.fail("gone", "ConnectionError")
            return None

    assert attempt(until=20) is None
    left = store.list_files(f"attempts/{spec.trial_id}/1/steps")
    (last,) = {int(path.split("/")[4]) for path in left}
    assert 1 <= last <= 20
    resumed = attempt(until=-1)
    assert resumed
    assert resumed["resumed_step"] == last
    again = TrialOutcome.model_validate(resumed)
    assert decided(whole.model_copy(update={"files": again.files, "metrics": again.metrics})) == decided(whole)
    assert resumed["start_weights"] == whole.start_weights


def died(injection: str, expected: str) -> pytest.MarkDecorator:
    symptom = "the trial is reported as not run, and is not tried again"
    return fault(injection, symptom, expected, "F8")


@pytest.mark.fault(
    injection="an arm named '[/]:x: [bold]a[/bold]' in the progress of a run", symptom="MarkupError, or a cut name",
    expected="right", reference="F14",
)  # fmt: skip
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(
            (signal.SIGSEGV,),
            marks=[
                pytest.mark.slow,
                died("SIGSEGV in a worker in mid-training", "right: tried again from its last step"),
            ],
        ),
        pytest.param(
            (signal.SIGSEGV, signal.SIGKILL),
            marks=died("SIGSEGV, then kill -9 of a worker", "error names process, signal and log"),
        ),
    ],
)
def test_a_trial_whose_process_dies_is_tried_again_once_and_named_with_the_reason(
    two_cpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], kills: tuple[signal.Signals, ...]
) -> None:
    """It cannot say so itself, nor can one that never started. Brackets are no markup."""
    arm, store, killed = "[/]:x: [bold]a[/bold]", SweepStore(str(tmp_path / "store")), set[int]()

    def kill() -> None:
        while len(killed) < len(kills):
            time.sleep(0.1)
            for path in store.list_files("attempts"):
                if path.endswith("/done.json") and "/steps/" in path:
                    claim = json.loads(store.read("/".join(path.split("/")[:3]) + "/claim"))
                    if claim["owner"]["pid"] not in killed:
                        os.kill(claim["owner"]["pid"], kills[len(killed)])
                        killed.add(claim["owner"]["pid"])

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    one, survives = nano.ablation(seeds=(0,), arms=(Arm(arm),)), len(kills) == 1
    recipe = nano.recipe(steps=600 if survives else 100_000, base=False)
    assert run(one, store.uri, tmp_path, recipe, checkpoint_minutes=OFTEN) == (0 if survives else 1)
    printed = capsys.readouterr().out
    assert f"\n{arm}: 1 to run\n" in printed
    assert f"\nagain, after the store or a process failed: {arm}: 1 to run\n" in printed
    failed = [line for line in printed.splitlines() if "FAILED" in line]
    for line, how in zip(failed, kills, strict=True):
        assert re.match(rf"  {re.escape(arm)} · seed 0: FAILED \(1 of 1\), {DEATHS[how]}$", line)
    (trial_id,) = {path.split("/")[1] for path in store.list_files("attempts")}
    record = store.record(trial_id)
    states = [attempt["state"] for attempt in attempts_of(store, trial_id, record)]
    if survives:
        assert record.cost.resumed_step >= 1
        assert states == ["ended without a result", "its process died", "committed"]
        return
    assert states == ["ended without a result", "its process died"] * 2
    assert f"failed: {arm}, seed 0" in printed
    assert "not run" not in printed.replace("NOT RUN", "")
    assert re.match(DEATHS[kills[-1]], store.failures([trial_id])[trial_id]["error"])


@pytest.mark.fault(
    injection="a second driver holds a trial and gives up",
    symptom="the sweep waits for ever, or runs the trial twice",
    expected="right: other trials first, then its own attempt",
)
def test_drivers_share_a_sweep(two_cpus: None, tmp_path: Path) -> None:
    """What another driver holds is left to it while there is other work, and taken over when it gives up."""
    recipe = nano.recipe(base=False)
    two = nano.ablation(seeds=(0,), arms=(Arm("a"), Arm("b", {"objective.fusion": "max"})))
    store = SweepStore(str(tmp_path / "store"))
    (wave,) = make_plan(two, recipe, Settings(store=store.uri, cache=tmp_path / "cache")).waves
    held = SweepStore(store.uri, owner=ELSEWHERE).claim(wave[0].trial_id)
    seen: list[set[str]] = []

    def other_driver() -> None:
        with suppress(KeyboardInterrupt), held.heartbeat(interval_s=1.0):
            for _ in range(1200):
                time.sleep(0.2)
                if store.trial_ids():
                    break
            seen.append(store.trial_ids())
            raise KeyboardInterrupt

    other = threading.Thread(target=other_driver)
    other.start()
    assert run(two, store.uri, tmp_path, recipe, concurrency=1) == 0
    other.join()
    assert seen == [{wave[1].trial_id}]
    assert {trial_id: record.attempt for trial_id, record in store.records().items()} == {
        wave[0].trial_id: 2,
        wave[1].trial_id: 1,
    }


@pytest.mark.slow
def test_the_same_sweep_on_s3(
    two_cpus: None,
    s3_store_uri: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check_sweep(s3_store_uri, (0,), tmp_path, capsys, monkeypatch)


@pytest.mark.fault(
    injection="a trial diverges in a worker that others reuse",
    symptom="the next trial in that worker gets other numbers",
    expected="right: the same bytes",
)
def test_a_reused_actor_leaves_no_trace(two_cpus: None, tmp_path: Path) -> None:
    """The bytes of trial A are the same alone, and after one that failed and B in the same process."""
    store = SweepStore(str(tmp_path / "store"))
    a, b = Arm("a"), Arm("b", {"objective.fusion": "max"})
    diverges = Arm("diverges", {"optim.lr": 1e30})
    recipe = nano.recipe(base=False)

    def bytes_of_a(*arms: Arm) -> dict[str, str]:
        code = run(nano.ablation(seeds=(0,), arms=arms), store.uri, tmp_path, recipe, concurrency=1)
        assert code == (1 if diverges in arms else 0)
        (record,) = [
            r
            for r in store.records().values()
            if (r.recipe["objective"]["fusion"], r.recipe["optim"]["lr"]) == ("mean", recipe.optim.lr)
        ]
        return decided(record)

    alone = bytes_of_a(a)
    for written in ("records", "evaluations", "attempts"):
        shutil.rmtree(tmp_path / "store" / written)  # all but the clips
    assert bytes_of_a(diverges, b, a) == alone
    (failure,) = (tmp_path / "store/attempts").rglob("failure.json")  # the trial's own account, and no other
    failed = json.loads(failure.read_text())
    assert failed["kind"] == "diverged"
    assert failed["error"].startswith("diverged: ")
    assert "lower optim.lr (now 1e+30), raise optim.warmup_steps (now 2)" in failed["error"]
    assert re.search(r"its last saved step, 1, is in \S+/steps/1$", failed["error"])


@pytest.mark.slow
def test_two_workers_change_only_rounding(two_cpus: None, tmp_path: Path) -> None:
    from swim import models
    from swim.evaluation.evaluate import evaluate
    from swim.supervision.objective import SupervisedModel
    from swim.train import Trained, encoder_for, train
    from swimlab.data.prepared_clips import StoredClips, load_prepared
    from swimlab.execution.start_weights import start_weights
    from swimlab.identity.naming import clips_fingerprint, data_fingerprint

    recipe = nano.recipe(steps=12, base=False)  # past the tenth, where the ranks of a group meet to report
    store = SweepStore(str(tmp_path / "store"))
    assert run(nano.ablation(seeds=(0,), arms=(Arm("a"),)), store.uri, tmp_path, recipe, workers=2) == 0
    ((trial_id, found),) = store.records().items()
    assert found.provenance.numerics["world_size"] == 2
    assert found.start_weights == start_weights(SupervisedModel(models.build(recipe.model)[0], recipe.objective))
    data = data_fingerprint(recipe.data, tmp_path / "cache")
    prepared = load_prepared(store, clips_fingerprint(recipe.data, data, recipe.model))
    assert prepared is not None
    alone = {(p.step, p.name): p.value for p in train(recipe, StoredClips(store, prepared, "train")).curve}
    table = arrow_tables.from_parquet(store.open_file(trial_id, "metrics.parquet"))
    together = {(p.step, p.name): p.value for p in arrow_tables.metrics_from_table(table)}
    for step in range(1, 11):
        assert together[step, "loss"] == pytest.approx(alone[step, "loss"], rel=1e-4)
    assert cluster.whole()

    # The group's checkpoint scored here gives the samples that its rank 0 stored.
    model, tokenizer = models.build(recipe.model, store.download(trial_id, "checkpoint/", tmp_path / "checkpoint"))
    trained = Trained(model.eval(), tokenizer, encoder_for(recipe, model, tokenizer), [])
    scores = evaluate(recipe, trained, StoredClips(store, prepared, "held_out")).scores
    (evaluation,) = store.evaluations().values()
    samples = store.evaluation_file(evaluation, "samples.parquet")
    assert arrow_tables.to_parquet(arrow_tables.samples_table(scores)) == samples


@pytest.mark.fault(
    injection="videos of a data set are missing or no videos",
    symptom="the sweep fails, or trains on fewer rows without a word",
    expected="right: trained without them, and each is named",
)
def test_bad_rows_are_quarantined_and_named(two_cpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from swim.data.synthetic import shapes_world
    from swim.recipe import NLReferFiles, ShapesWorld

    drawn = ShapesWorld(clips=6, held_out=1)
    rows = shapes_world.write(drawn, "train", range(6), tmp_path)
    (tmp_path / rows[1]["video"]).unlink()
    (tmp_path / rows[2]["video"]).write_bytes(b"not a video")
    (tmp_path / "mine.json").write_text(json.dumps(rows))
    data = NLReferFiles(annotations=(str(tmp_path / "mine.json"),), videos=str(tmp_path), frames=drawn.frames)
    recipe = nano.recipe(base=False, data=data, **{"optim.steps": 1})
    assert run(nano.ablation(seeds=(0,), arms=(Arm("a"),)), str(tmp_path / "store"), tmp_path, recipe) == 0
    printed = capsys.readouterr().out
    for row in (1, 2):
        assert f"mine.json row {row} video" in printed


@pytest.mark.fault(
    injection="a file stands where the store's folder should be", symptom="hours of training before a write fails",
    expected="error before Ray starts",
)  # fmt: skip
def test_an_unwritable_store_fails_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(cluster, "ray_session", lambda: pytest.fail("Ray was started"))
    assert run(nano.ablation(), str(tmp_path / "file/store"), tmp_path, nano.recipe()) == 1
    assert "StoreError" in capsys.readouterr().out
