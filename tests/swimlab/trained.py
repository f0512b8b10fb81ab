"""Real trials of the nano recipe in a real store, without Ray: same code, but for who schedules it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import nano
from swim.data.synthetic import shapes_world
from swim.recipe import NLReferFiles, ShapesWorld
from swimlab import Arm
from swimlab.data import decode_part, preparation
from swimlab.data.draw_embedded import drawn_files
from swimlab.execution import run_ablations, trial, workers
from swimlab.execution.cluster import Slots
from swimlab.experiment import run_manifest
from swimlab.experiment.plan import Plan, make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.identity import naming
from swimlab.identity.splits import TRAINED, Split, drawn_clips
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import SweepStore

ARMS = (Arm("swim"), Arm("pool", {"objective.fusion": "max"}), Arm("control", {"objective.mask_weight": 0}))
SLOTS = Slots(trial={}, worker={"CPU": 1.0}, workers=0, at_a_time=1)


class InProcess:
    """Stands in for Ray Train's local mode: the same loop, called here."""

    def __init__(self, loop: Any, *, train_loop_config: dict[str, Any], **_: Any) -> None:
        self._loop, self._config = loop, train_loop_config

    def fit(self) -> SimpleNamespace:
        return SimpleNamespace(return_value=self._loop(self._config))


def drawn(config: ShapesWorld, folder: Path, progress: Any, splits: tuple[Split, ...] = TRAINED) -> NLReferFiles:
    """`swimlab.data.draw_embedded.draw_embedded` in this process."""
    for split in splits:
        rows = shapes_world.write(config, split, range(drawn_clips(config, split)), folder)
        (folder / f"{split}.json").write_text(json.dumps(rows))
    return drawn_files(config, folder, splits)


def work_here(patch: pytest.MonkeyPatch) -> None:
    """Data are prepared and trials trained as through Ray, in this process."""
    patch.setattr(preparation, "draw_embedded", drawn)
    patch.setattr(preparation, "_decoded", lambda jobs, store, _: (decode_part.run(job, store) for job in jobs))
    patch.setattr(workers, "TorchTrainer", InProcess)


def run(store: SweepStore, cache: Path, steps: int = 4) -> Plan:
    """Three arms on a base of their own, one seed, as `runner.execute` leaves them."""
    settings = Settings(store=store.uri, cache=cache)
    plan = make_plan(nano.ablation(seeds=(0,), arms=ARMS), nano.recipe(steps=steps), settings)
    run_manifest.announce(plan, store, plan.trial_ids)
    with pytest.MonkeyPatch.context() as patch:
        work_here(patch)
        for spec in (spec for wave in plan.waves for spec in wave):
            store.put_create_only(f"code/{spec.code_fingerprint}.tar.gz", naming.source_archive(spec.recipe))
            for suite in spec.evaluations:
                archive = naming.suite_archive(spec.recipe, suite.suite)
                store.put_create_only(f"code/{suite.code_fingerprint}.tar.gz", archive)
            preparation.prepare(spec.recipe.data, spec.clips_fingerprint, store, cache)
            trial.run_trial(spec, store.uri, SLOTS, None, lambda values: None)
    write_tables(store, run_ablations._arms_table(run_ablations.gather(plan, store, 0.0)))
    return plan
