"""Searches through Ray Tune and Ray Train: identical proposals, pruning in one process and in groups, no trace."""

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from store_kit import all_results

import nano
from swim.data.annotations.samples import parse_row
from swim.data.clips import InMemoryClips
from swim.data.synthetic.shapes_world import row
from swim.data.types import Clip
from swim.recipe import Recipe, ShapesWorld
from swim.train import Host, Moment, train
from swimlab import Choice, Float, Metric, Pruning, Search
from swimlab.cli import search_file
from swimlab.execution import cluster
from swimlab.execution.monitor import Watcher
from swimlab.execution.search.pruning_rungs import EarlierTrial, PruningContext, known_rungs
from swimlab.execution.search.rung_evaluation import PrunedAt, RungWatch
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.trial_spec import name_trial
from swimlab.store.sweep_store import SweepStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

NEVER, ALWAYS = optuna.pruners.NopPruner(), optuna.pruners.ThresholdPruner(lower=2.0)  # no metric of ours reaches 2


def search(**changes: Any) -> Search:
    fields: dict[str, Any] = {
        "name": "nano",
        "space": [Choice("objective.fusion", ["mean", "max"]), Choice("objective.normalise", ["none", "max"])],
        "objectives": [Metric("answer.loss", higher_is_better=False), Metric("attention.ap")],
        "recipe": "tiny-smoke",
        "budget": 16,
        "pruning": None,
    }
    return Search(**fields | changes)


def drawn(data: ShapesWorld, index: int) -> Clip:
    entry, frames_THWC = row(data, "train", index)
    sample = parse_row(json.loads(json.dumps(entry)), file="nano.json", row=index)
    return Clip(sample.key, sample.turns, frames_THWC, (0, 1, 2, 3), 4.0, sample.tracks)


def run(declared: Search, store: Path, recipe: Recipe, cache: Path, **settings: Any) -> int:
    chosen = Settings(store=str(store), cache=cache, **settings)
    with pytest.raises(SystemExit) as ended:
        search_file.run(declared, chosen, lambda: recipe)
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_sixteen_identical_proposals_cost_one_trial(
    two_cpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = nano.recipe(base=False, **{"objective.mask_weight": 0.0})  # nothing is fused: all points are one trial
    declared = search(confirm=(1,))
    assert run(declared, tmp_path / "store", recipe, tmp_path) == 0
    store = SweepStore(str(tmp_path / "store"))
    records = store.records()
    assert sorted(record.seed for record in records.values()) == [0, 1]  # the one, and its confirmation
    assert {path.split("/")[2] for path in store.list_files("attempts")} == {"1"}
    printed = capsys.readouterr().out
    assert "0 of 16 points answered by the store" in printed
    assert "1 complete, 0 pruned, 0 failed, 15 repeated" in printed
    monkeypatch.setattr(cluster, "ray_session", lambda: pytest.fail("a search that the store can answer started Ray"))
    assert run(declared, tmp_path / "store", recipe, tmp_path) == 0
    assert "16 of 16 points answered by the store" in capsys.readouterr().out
    assert run(declared, tmp_path / "store", recipe, tmp_path, command="plan") == 0
    assert "16 of 16 points answered" in " ".join(capsys.readouterr().out.split())


def pruned_by(pruner: Any, budget: int) -> Search:
    return search(
        space=[Float("objective.mask_weight", 0.5, 2)],
        objectives=[Metric("attention.ap")],
        budget=budget,
        pruning=Pruning(at=(0.25, 0.5), clips=2, pruner=pruner),
    )


def check_pruned(store: SweepStore, trials: int) -> None:
    """Results of their own, beside attempts that tell where they stood: no record, no failure."""
    assert store.records() == {}
    assert [path.rpartition("/")[2] for path in store.list_files("pruned")] == ["2.json"] * trials
    left = [path.split("/")[3] for path in store.list_files("attempts")]
    assert set(left) <= {"claim", "heartbeat", "progress", "steps"}


def test_pruned_trials_are_results_and_may_be_gone_on_with(two_cpus: None, tmp_path: Path) -> None:
    recipe, store = nano.recipe(base=False, steps=8), SweepStore(str(tmp_path / "store"))
    assert run(pruned_by(ALWAYS, 2), tmp_path / "store", recipe, tmp_path, concurrency=1) == 0
    check_pruned(store, 2)
    (watched,) = Watcher(store).poll()
    assert [(t.trial.arm, t.state) for t in watched.trials] == [("point 0", "pruned"), ("point 1", "pruned")]
    assert not watched.open
    trial_ids = {path.split("/")[1] for path in store.list_files("pruned")}
    assert run(pruned_by(NEVER, 2), tmp_path / "store", recipe, tmp_path, concurrency=1) == 0
    assert store.records().keys() == trial_ids
    values, reported = {}, set()
    for trial_id, record in all_results(store).items():
        by_split = {evaluation.split: evaluation for evaluation in record.evaluations}
        assert list(known_rungs(store, trial_id, by_split["validation"].evaluation_id, 2)) == [2, 4]
        assert record.cost.resumed_step == 2  # from where the search had left it
        values[trial_id] = record.metrics["validation.attention.ap"]
        reported |= {trial_id} if "held_out" in by_split else set()
    assert reported == {max(values, key=lambda trial_id: values[trial_id])}  # the winner alone
    assert run(pruned_by(ALWAYS, 2), tmp_path / "store", recipe, tmp_path, command="report") == 0
    assert "2 complete, 0 pruned" in (tmp_path / "store/reports/nano/nano/report.md").read_text()


@pytest.mark.slow
def test_a_pruned_worker_group_leaves_nothing_held(two_cpus: None, tmp_path: Path) -> None:
    recipe, store = nano.recipe(base=False, steps=8), SweepStore(str(tmp_path / "store"))
    assert run(pruned_by(ALWAYS, 1), tmp_path / "store", recipe, tmp_path, workers=2) == 0
    assert cluster.whole(timeout_s=10)
    check_pruned(store, 1)


def test_a_rung_ends_the_worse_trial_where_the_median_says(tmp_path: Path) -> None:
    """Without Ray: the watch measures, stores, judges and raises at the rung, and leaves no trace before it."""
    recipe = nano.recipe(base=False, steps=6)
    assert isinstance(recipe.data, ShapesWorld)
    clips = [drawn(recipe.data, index) for index in range(6)]
    spec = name_trial("a", recipe, tmp_path)
    store = SweepStore(str(tmp_path / "store"))

    def curve(*earlier: float) -> list[Any]:
        traces = tuple(EarlierTrial(state="COMPLETE", value=value, rungs={2: value, 4: value}) for value in earlier)
        about = {"search": "s", "objective": "attention.ap", "suite": "attention", "higher_is_better": True}
        gate = PruningContext(**about, steps=(2, 4), clips=2, earlier=traces)
        watch = RungWatch(gate, optuna.pruners.MedianPruner(n_startup_trials=1), spec, store,
                          InMemoryClips(clips[:3]), torch.device("cpu"), None)  # fmt: skip

        def on_step(step: int, values: dict[str, float], now: Moment) -> None:
            watch.measure(now)
            watch.judge(now)

        host = Host(on_step=on_step)
        return train(recipe, clips, host=host).curve

    plain = train(recipe, clips).curve
    assert curve(0.0, 0.0) == plain
    evaluation_id = spec.evaluation("attention").evaluation_id
    assert list(known_rungs(store, spec.trial_id, evaluation_id, 2)) == [2, 4]
    with pytest.raises(PrunedAt, match="step 2") as pruned:
        curve(1.0, 1.0)
    assert pruned.value.values == {2: known_rungs(store, spec.trial_id, evaluation_id, 2)[2].metrics["attention.ap"]}


@pytest.mark.fault(
    injection="the process of a search's trial is SIGKILLed", symptom="its point counts as a failure of its values",
    expected="right: it runs again", reference="F8",
)  # fmt: skip
def test_a_point_whose_process_dies_runs_again(
    two_cpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, store, killed = nano.recipe(base=False, steps=150), SweepStore(str(tmp_path / "store")), list[int]()

    def kill() -> None:
        while not killed:
            time.sleep(0.1)
            if steps := [path for path in store.list_files("attempts") if path.endswith("/done.json")]:
                claim = json.loads(store.read("/".join(steps[0].split("/")[:3]) + "/claim"))
                killed.append(claim["owner"]["pid"])
                os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    declared = search(
        space=[Choice("objective.fusion", ["mean", "max"])], budget=1, objectives=[Metric("attention.ap")]
    )
    assert run(declared, tmp_path / "store", recipe, tmp_path, checkpoint_minutes=1e-4) == 0
    printed = capsys.readouterr().out
    assert "point 0 · seed 0: again, after the store or a process failed" in printed
    assert re.search(r"point 0 · seed 0: FAILED \(1 of 1\), process \d+ was killed", printed), printed
    assert "point 0 · seed 0: done (2 of 2)" in printed
    assert "1 complete, 0 pruned, 0 failed" in printed
    (record,) = store.records().values()
    assert record.cost.resumed_step >= 1


def test_a_base_that_fails_ends_the_search_and_says_why(
    two_cpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = nano.recipe()
    assert recipe.init is not None
    diverges = recipe.override({"init": recipe.init.override({"optim.lr": 1e30})})
    assert run(search(budget=2), tmp_path / "store", diverges, tmp_path) == 1
    assert re.search(r"nano-base, which every point starts from, failed:.*is nan", capsys.readouterr().out, re.DOTALL)
