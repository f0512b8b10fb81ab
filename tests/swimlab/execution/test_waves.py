"""Waves: what the store or a dead process interrupted runs once more at the end of its wave. No Ray schedules here."""

from types import SimpleNamespace

import pytest
import trained

import nano
from swimlab.execution import tune_scheduler
from swimlab.execution.faults import LOST, STORE
from swimlab.execution.session import RunSession
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.store.sweep_store import SweepStore


@pytest.mark.fault(
    injection="trials of a wave fail by the store, or by a dead process", symptom="they are lost for this run",
    expected="right: tried again once, and no other", reference="F4",
)  # fmt: skip
def test_only_interrupted_trials_run_again_and_only_once(tmp_path, monkeypatch):
    settings = Settings(store=str(tmp_path / "store"), cache=tmp_path / "cache")
    plan = make_plan(nano.ablation(seeds=(0,), arms=trained.ARMS), nano.recipe(base=False), settings)
    specs = [spec for _, spec in plan.arms]
    kinds = dict(zip((spec.trial_id for spec in specs), (STORE, LOST, "ValueError"), strict=True))
    store, waves, names = SweepStore(settings.store), [], []

    def run_wave(wave, **_):
        waves.append([spec.trial_id for spec in wave])
        for spec in wave:
            store.claim(spec.trial_id).fail("why", kinds[spec.trial_id])

    monkeypatch.setattr(tune_scheduler, "run_wave", run_wave)
    progress = SimpleNamespace(wave=lambda name, total: names.append((name, total)), held_elsewhere=set)
    RunSession(store, settings, trained.SLOTS, progress).run(specs, {})
    assert waves == [list(kinds), list(kinds)[:2]]
    assert names[1] == ("again, after the store or a process failed: swim, pool", 2)
    assert {work_id: failed["attempt"] for work_id, failed in store.failures(kinds).items()} == dict(
        zip(kinds, (2, 2, 1), strict=True)
    )
