"""Trials are evaluated again without being trained: from real nano trials in a real store, without Ray."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import trained
from store_kit import all_results

import nano
from swimlab.cli import plan_view
from swimlab.execution import evaluations, run_ablations, trial, workers
from swimlab.experiment import protocol
from swimlab.experiment.plan import make_plan, merged, missing
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.stored_results import failures, is_complete, stored_results
from swimlab.report.summarise import summarise
from swimlab.store.evaluation_records import TrialResult, TrialTarget
from swimlab.store.garbage_collection import Rules, find
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import StoreError, SweepStore

STRICTER = {"evaluation.attention.precision_threshold": 0.75}


@pytest.fixture
def bench(trained_store, tmp_path, monkeypatch):
    """A copy of the trained store, and plans of its table."""
    shutil.copytree(trained_store.uri, tmp_path / "store")
    monkeypatch.setattr(workers, "TorchTrainer", trained.InProcess)
    settings = Settings(store=str(tmp_path / "store"), cache=tmp_path / "cache")

    def plan(**changes):
        recipe = nano.recipe(**changes)
        return make_plan(nano.ablation(seeds=(0,), arms=trained.ARMS), recipe, settings)

    def run(spec):
        return trial.run_trial(spec, settings.store, trained.SLOTS, None, lambda values: None)

    return SimpleNamespace(store=SweepStore(settings.store), settings=settings, plan=plan, run=run)


def train_nothing(monkeypatch):
    monkeypatch.setattr(trial, "train_loop", lambda config: pytest.fail("a trial was trained"))


def test_a_changed_configuration_evaluates_stored_trials_and_trains_nothing(bench, monkeypatch):
    train_nothing(monkeypatch)
    before, plan = all_results(bench.store), bench.plan(**STRICTER)
    assert set(plan.trial_ids) == set(before)
    assert missing([bench.plan()], bench.store) == ()
    (wave,) = missing([plan], bench.store)
    arms = {spec.trial_id for _, spec in plan.arms}
    assert {spec.trial_id for spec in wave} == arms  # and not the base that they start from
    seen = "\n".join(plan_view.lines(plan_view.preview(plan, bench.store, bench.settings)))
    assert "0 to run; 0 of the table's 3 cached; 3 to evaluate again, and not to train" in seen

    printed = {spec.trial_id: bench.run(spec) for spec in wave}
    assert bench.store.records() == SweepStore(bench.store.uri).records()
    assert {t: r.nonce for t, r in bench.store.records().items()} == {t: r.nonce for t, r in before.items()}
    after = all_results(bench.store)
    for trial_id in arms:
        assert after[trial_id].metrics == printed[trial_id]
        changed = {name for name, value in after[trial_id].metrics.items() if value != before[trial_id].metrics[name]}
        assert changed <= {"attention.precision", "attention_own.precision"}
        assert len(bench.store.evaluations()) == len(before) + len(arms)
    assert any(after[trial_id].metrics != before[trial_id].metrics for trial_id in arms)
    assert missing([plan], bench.store) == ()
    # Each table reads its own evaluations; who has no table sees the newest.
    for shown, expected in ((bench.plan(), before), (plan, after)):
        for result in run_ablations.gather(shown, bench.store, 0.0).trials:
            assert result.record.metrics == expected[result.trial_id].metrics
    rows = {row["trial_id"]: row for row in leaderboard(bench.store).to_pylist()}
    for trial_id in arms:
        assert rows[trial_id]["attention.precision"] == after[trial_id].metrics["attention.precision"]
        assert rows[trial_id]["evaluated.attention"] == after[trial_id].evaluations[0].evaluation_id


def test_what_a_killed_driver_did_not_publish_is_published_and_not_measured_again(bench, monkeypatch):
    train_nothing(monkeypatch)
    monkeypatch.setattr(evaluations, "evaluation_loop", lambda config: pytest.fail("a trial was evaluated"))
    plan, before = bench.plan(), all_results(bench.store)
    spec = plan.arms[0][1]
    path = f"evaluations/{spec.evaluations[0].evaluation_id}.json"
    committed = bench.store.read(path)
    bench.store.backend.delete(path)
    assert [s.trial_id for wave in missing([plan], bench.store) for s in wave] == [spec.trial_id]
    assert bench.run(spec) == before[spec.trial_id].metrics
    assert bench.store.read(path) == committed


def test_a_failed_evaluation_loses_no_training_and_is_made_by_the_next_run(bench, monkeypatch):
    plan = bench.plan()
    spec = plan.arms[1][1].model_copy(update={"keep_checkpoint": False})
    before = all_results(bench.store)[spec.trial_id]
    bench.store.backend.delete(f"records/{spec.trial_id}.json")
    # Its claim is this process's, which lives: it would be taken for running until its heartbeat has been silent.
    shutil.rmtree(f"{bench.store.uri}/attempts/{spec.trial_id}")
    measure = evaluations.run_suite

    def broken(*_):
        raise ValueError("no such map")

    monkeypatch.setattr(evaluations, "run_suite", broken)
    with pytest.raises(evaluations.EvaluationFailed, match="it evaluates only"):
        bench.run(spec)
    record = bench.store.record(spec.trial_id)
    assert record.nonce != before.nonce
    assert set(record.metrics) == {"train.loss", "train.text_loss", "train.mask_loss", "train.clips"}
    results = stored_results(bench.store, [spec])
    assert not is_complete(spec, results)  # the old evaluation is of other weights
    assert "no such map" in failures(bench.store, [spec], results)[spec.trial_id]
    (shown,) = [t for t in run_ablations.gather(plan, bench.store, 0.0).trials if t.trial_id == spec.trial_id]
    assert "attention.ap" not in shown.record.metrics
    assert shown.failure.startswith("nano: ")
    assert "no such map" in shown.failure
    # The checkpoint was kept, although the trial was told not to: from it the next run evaluates.
    monkeypatch.setattr(evaluations, "run_suite", measure)
    train_nothing(monkeypatch)
    assert bench.run(spec) == before.metrics
    assert bench.store.record(spec.trial_id).nonce == record.nonce
    assert failures(bench.store, [spec], stored_results(bench.store, [spec])) == {}


def test_without_its_checkpoint_a_trial_is_not_evaluated_again_and_the_error_says_why(bench):
    spec = bench.plan(**STRICTER).arms[0][1]
    record = bench.store.record(spec.trial_id)
    for item in find(bench.store, Rules(checkpoints="none")).items:
        bench.store.backend.delete_many(item.paths)
    with pytest.raises(StoreError, match=f"delete records/{record.trial_id}.json to run the trial again"):
        bench.run(spec)
    failed = failures(bench.store, [spec], stored_results(bench.store, [spec]))
    assert "checkpoint" in failed[spec.trial_id]


def test_an_evaluation_on_another_machine_makes_the_table_mixed(bench):
    plan = bench.plan()
    results = run_ablations.gather(plan, bench.store, 0.0)
    assert not summarise(results).mixed
    first = results.trials[0]
    (evaluation,) = first.record.evaluations
    numerics = evaluation.provenance.numerics | {"cpu_capability": "DEFAULT"}
    moved = evaluation.model_copy(
        update={"provenance": evaluation.provenance.model_copy(update={"numerics": numerics})}
    )
    elsewhere = replace(first, record=TrialResult.of(bench.store.record(first.trial_id), (moved,)))
    mixed = summarise(replace(results, trials=(elsewhere, *results.trials[1:]))).mixture
    assert {len(group.trial_ids) for group in mixed} == {1, 2}
    assert any("attention: cpu_capability DEFAULT" in group.label for group in mixed)


def test_another_driver_that_evaluates_is_waited_for(bench, monkeypatch):
    spec = bench.plan(**STRICTER).arms[0][1]
    (evaluation,) = spec.evaluations
    record = bench.store.record(spec.trial_id)
    attempt = bench.store.claim(evaluation.evaluation_id, TrialTarget.of(record))
    assert attempt
    assert evaluations.is_held(spec, bench.store)
    waits = []

    def wait(_):
        waits.append(1)
        attempt.fail("gave up", "KeyboardInterrupt")

    monkeypatch.setattr(trial.time, "sleep", wait)
    assert "attention.precision" in bench.run(spec)
    assert waits
    assert not evaluations.is_held(spec, bench.store)


def test_recipes_that_differ_in_what_they_measure_are_one_trial(bench):
    plain, strict = bench.plan().arms[0][1], bench.plan(**STRICTER).arms[0][1]
    both = merged([plain, strict, plain])
    assert list(both) == [plain.trial_id]
    assert both[plain.trial_id].evaluations == (*plain.evaluations, *strict.evaluations)
    assert (
        missing([bench.plan(), bench.plan(**STRICTER)], bench.store)[0][0].evaluations
        == both[plain.trial_id].evaluations
    )


def test_an_amended_evaluation_amends_the_protocol(bench):
    protocol.declare(bench.plan(), bench.store)
    plan = bench.plan(**STRICTER)
    changes = protocol.declare(plan, bench.store).history[-1].changes
    assert "evaluation.attention.precision_threshold 0.5 → 0.75" in changes
    assert any(change.startswith("evaluation.attention.id ") for change in changes)
    assert len(changes) == 2
