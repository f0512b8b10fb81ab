"""Runs a plan (as a grid over its trials) or a search with Ray Tune, as many trials at a time as fit the machine.

Tune only schedules: results are read from the store.
"""

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ray import tune

from swimlab.execution.cluster import Slots
from swimlab.execution.exactly_once import HeldElsewhere
from swimlab.execution.lost_trials import LostTrials
from swimlab.execution.progress import HELD_ELSEWHERE, SweepProgress
from swimlab.execution.run_times import WaveTiming
from swimlab.execution.search.ask_tell import SearchLoop
from swimlab.execution.search.pruning_rungs import PruningContext, TrialPruned
from swimlab.execution.search.tune_searcher import Proposals
from swimlab.execution.step_checkpoints import Saving
from swimlab.execution.stop_notice import Stopping
from swimlab.execution.trial import run_trial
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.scratch import scratch_folder
from swimlab.store.sweep_store import SweepStore


def run_wave(
    specs: Sequence[TrialSpec],
    *,
    primary: Mapping[str, str],
    store: SweepStore,
    slots: Slots,
    micro_batch: int | None,
    saving: Saving,
    progress: SweepProgress,
) -> WaveTiming:
    """Run trials that do not depend on each other, in their order. `primary`: trial id → the metric that the log shows
    of it (of a base none). A failed trial leaves its failure in the store and stops no other. Returns how long it took.

    Raises KeyboardInterrupt when the user stopped the sweep.
    """
    stopping = Stopping(progress.console)
    trainable = tune.with_parameters(
        _planned,
        specs=[spec.model_dump_json() for spec in specs],
        store=store.uri,
        slots=slots,
        micro_batch=micro_batch,
        saving=replace(saving, session=stopping.session),
        primary=primary,
    )
    labels = _labels(specs)
    began_s = time.monotonic()
    _fit(
        trainable,
        slots,
        progress,
        LostTrials(store, lambda config: specs[config["index"]]),
        stopping,
        label=lambda config: labels[config["index"]],
        param_space={"index": tune.grid_search(list(range(len(specs))))},
    )
    return WaveTiming(wall_s=time.monotonic() - began_s, slots=slots.at_a_time, occupied_s=progress.occupied_s())


def run_search(
    loop: SearchLoop,
    *,
    before: Callable[[TrialSpec], None],
    store: SweepStore,
    slots: Slots,
    micro_batch: int | None,
    saving: Saving,
    progress: SweepProgress,
) -> None:
    """Run what a search proposes until its budget is spent, `before` being called with each trial that has to run.

    Raises KeyboardInterrupt when the user stopped the search.
    """
    pruning, stopping = loop.search.pruning, Stopping(progress.console)
    trainable = tune.with_parameters(
        _proposed,
        pruner=pruning.rule() if pruning else None,
        store=store.uri,
        slots=slots,
        micro_batch=micro_batch,
        saving=replace(saving, session=stopping.session),
        objective=loop.search.judged_by(loop.recipe)[0],
    )
    _fit(
        trainable,
        slots,
        progress,
        LostTrials(store, lambda config: TrialSpec.model_validate_json(config["spec"])),
        stopping,
        label=lambda config: _label(config["arm"], config["seed"]),
        search_alg=Proposals(loop, before, lambda spec: progress.again(_label(spec.arm, spec.seed))),
        num_samples=2 * loop.search.budget,  # each may have to run twice; the proposals say when they have ended
    )


def _fit(
    trainable: Any,
    slots: Slots,
    progress: SweepProgress,
    lost_trials: LostTrials,
    stopping: Stopping,
    *,
    label: Callable[[dict[str, Any]], str],
    param_space: dict[str, Any] | None = None,
    **schedule: Any,
) -> None:
    """`label`: a trial's configuration → what progress calls the trial; `schedule`: what else Tune's configuration
    says."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new reporter prints a header that `verbose=0` does not silence
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # a traceback each: the store has it, and the log its last line
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's swallows Ctrl-C, and the next wave would begin
    with scratch_folder("tune") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = tune.Tuner(
            tune.with_resources(trainable, slots.trial),
            param_space=param_space,
            tune_config=tune.TuneConfig(
                max_concurrent_trials=slots.at_a_time,
                reuse_actors=True,
                trial_name_creator=lambda trial: label(trial.config),
                # Tune's default is made from the name, and an arm's name may hold what a folder's cannot.
                trial_dirname_creator=lambda trial: trial.trial_id,
                **schedule,
            ),
            # Tune pickles its own state, so it lives in a scratch folder and never in the store.
            run_config=tune.RunConfig(
                name="sweep", storage_path=str(scratch), verbose=0, callbacks=[progress, lost_trials, stopping]
            ),
        )
        with stopping.listening():
            tuner.fit()
    lost_trials.finish()


def _labels(specs: Sequence[TrialSpec]) -> list[str]:
    """What progress calls the trials. Arms of several tables may share a name and mean different trials."""
    often = Counter((spec.arm, spec.seed) for spec in specs)
    return [_label(s.arm if often[s.arm, s.seed] == 1 else f"{s.arm} {s.trial_id[:6]}", s.seed) for s in specs]


def _label(arm: str, seed: int) -> str:
    return f"{arm} · seed {seed}"


def _planned(
    config: dict[str, Any],
    specs: Sequence[str],
    store: str,
    slots: Slots,
    micro_batch: int | None,
    saving: Saving,
    primary: Mapping[str, str],
) -> None:
    spec = TrialSpec.model_validate_json(specs[config["index"]])
    began_s = time.monotonic()
    try:
        metrics = run_trial(spec, store, slots, micro_batch, tune.report, saving=saving, patient=False)
    except HeldElsewhere:
        tune.report({"stage": HELD_ELSEWHERE, "of": spec.trial_id})
        return
    done = {"stage": "done", "of": spec.trial_id, "occupied_s": time.monotonic() - began_s}
    tune.report(_shown(metrics, primary.get(spec.trial_id)) | done)


def _proposed(
    config: dict[str, Any],
    pruner: Any,
    store: str,
    slots: Slots,
    micro_batch: int | None,
    saving: Saving,
    objective: str,
) -> None:
    spec = TrialSpec.model_validate_json(config["spec"])
    gate = PruningContext.model_validate_json(config["gate"]) if config["gate"] else None
    try:
        metrics = run_trial(spec, store, slots, micro_batch, tune.report, gate, pruner, saving)
    except TrialPruned as pruned:
        tune.report(_shown(pruned.record.metrics, objective) | {"stage": f"pruned at step {pruned.record.step}"})
    else:
        tune.report(_shown(metrics, objective) | {"stage": "done"})


def _shown(metrics: Mapping[str, float], name: str | None) -> dict[str, Any]:
    """How the log shows a metric; empty where it was not measured."""
    return {"shown": f"{name} {metrics[name]:.3f}"} if name is not None and name in metrics else {}
