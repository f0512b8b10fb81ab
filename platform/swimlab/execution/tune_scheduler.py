"""Ray Tune and Optuna over a plan (every point enqueued) or a search, as many trials at a time as the machine fits.

Tune schedules; the store is the truth. Of a plan Optuna and Tune see two categoricals, `arm` and `seed`; what
they stand for is resolved inside the trial.
"""

import os
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from swimlab.execution.cluster import Slots
from swimlab.execution.exactly_once import HeldElsewhere
from swimlab.execution.lost_trials import LostTrials
from swimlab.execution.progress import HELD, SweepProgress
from swimlab.execution.run_times import WaveTiming
from swimlab.execution.search.ask_tell import SearchLoop
from swimlab.execution.search.pruning_rungs import PruningContext, TrialPruned
from swimlab.execution.search.tune_searcher import Proposals
from swimlab.execution.trial import run_trial
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.sweep_store import SweepStore

OBJECTIVE = "objective"


def run_wave(
    specs: Sequence[TrialSpec],
    *,
    primary: Mapping[str, str],
    store: SweepStore,
    slots: Slots,
    micro_batch: int | None,
    progress: SweepProgress,
) -> WaveTiming:
    """Run trials that do not depend on each other. `primary`: trial id → the metric that the log shows of it (of a base
    none). A failed trial leaves its failure in the store and stops no other. Returns how long it took.

    Raises KeyboardInterrupt when the user stopped the sweep.
    """
    points = _points(specs)
    by_point = {_name(point): spec.model_dump_json() for point, spec in zip(points, specs, strict=True)}
    ids = {_name(point): spec.trial_id for point, spec in zip(points, specs, strict=True)}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = OptunaSearch(
            space={
                name: optuna.distributions.CategoricalDistribution(sorted({point[name] for point in points}))
                for name in ("arm", "seed")
            },
            metric=OBJECTIVE,
            mode="max",
            sampler=optuna.samplers.RandomSampler(seed=0),
            points_to_evaluate=points,
        )
    trainable = tune.with_parameters(
        _trial, by_point=by_point, store=store.uri, slots=slots, micro_batch=micro_batch, primary=primary
    )
    lost = LostTrials(store, lambda point: ids[_name(point)])
    began_s = time.monotonic()
    # More samples than points and Optuna would invent points that nobody planned.
    _fit(trainable, search, len(points), slots, progress, lost)
    return WaveTiming(wall_s=time.monotonic() - began_s, slots=slots.at_a_time, occupied_s=progress.occupied_s())


def run_search(
    course: SearchLoop,
    *,
    before: Callable[[TrialSpec], None],
    store: SweepStore,
    slots: Slots,
    micro_batch: int | None,
    progress: SweepProgress,
) -> None:
    """Run what a search proposes until its budget is spent, `before` being called with each trial that has to run.

    Raises KeyboardInterrupt when the user stopped the search.
    """
    pruning = course.search.pruning
    trainable = tune.with_parameters(
        _proposed,
        pruner=pruning.rule() if pruning else None,
        store=store.uri,
        slots=slots,
        micro_batch=micro_batch,
        objective=course.search.objectives[0].measured(course.recipe.name),
    )
    lost = LostTrials(store, lambda point: TrialSpec.model_validate_json(point["spec"]).trial_id)
    _fit(trainable, Proposals(course, before), course.search.budget, slots, progress, lost)


def _fit(
    trainable: Any, search: Searcher, samples: int, slots: Slots, progress: SweepProgress, lost: LostTrials
) -> None:
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new reporter prints a header that `verbose=0` does not silence
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"  # a traceback each: the store has it, and the log its last line
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's swallows Ctrl-C, and the next wave would begin
    with tempfile.TemporaryDirectory(prefix="swimlab-tune-") as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner = tune.Tuner(
            tune.with_resources(trainable, slots.trial),
            tune_config=tune.TuneConfig(
                search_alg=search,
                num_samples=samples,
                max_concurrent_trials=slots.at_a_time,
                reuse_actors=True,
            ),
            # Tune pickles its own state, so it lives in a scratch folder and never in the store.
            run_config=tune.RunConfig(name="sweep", storage_path=scratch, verbose=0, callbacks=[progress, lost]),
        )
        tuner.fit()
    lost.finish()


def _points(specs: Sequence[TrialSpec]) -> list[dict[str, Any]]:
    """Arms of several tables may share a name and mean different trials."""
    often = Counter((spec.arm, spec.seed) for spec in specs)
    return [{"arm": s.arm if often[s.arm, s.seed] == 1 else f"{s.arm} {s.trial_id[:6]}", "seed": s.seed} for s in specs]


def _name(point: dict[str, Any]) -> str:
    return f"{point['arm']}\n{point['seed']}"


def _trial(
    config: dict[str, Any],
    by_point: dict[str, str],
    store: str,
    slots: Slots,
    micro_batch: int | None,
    primary: Mapping[str, str],
) -> None:
    spec = TrialSpec.model_validate_json(by_point[_name(config)])

    def report(values: dict[str, Any]) -> None:
        # The last report must carry the objective; Optuna accepts the metric missing before that only as a value.
        tune.report({OBJECTIVE: 0.0, **values})

    began_s = time.monotonic()
    try:
        metrics = run_trial(spec, store, slots, micro_batch, report, patient=False)
    except HeldElsewhere:
        tune.report({OBJECTIVE: 0.0, "stage": HELD, "of": spec.trial_id})
        return
    done = {"stage": "done", "of": spec.trial_id, "occupied_s": time.monotonic() - began_s}
    tune.report(_measured(metrics, primary.get(spec.trial_id)) | done)


def _proposed(
    config: dict[str, Any],
    pruner: Any,
    store: str,
    slots: Slots,
    micro_batch: int | None,
    objective: str,
) -> None:
    spec = TrialSpec.model_validate_json(config["spec"])
    gate = PruningContext.model_validate_json(config["gate"]) if config["gate"] else None

    def report(values: dict[str, Any]) -> None:
        tune.report({OBJECTIVE: 0.0, **values})

    try:
        metrics = run_trial(spec, store, slots, micro_batch, report, gate, pruner)
    except TrialPruned as pruned:
        tune.report(_measured(pruned.record.metrics, objective) | {"stage": f"pruned at step {pruned.record.step}"})
    else:
        tune.report(_measured(metrics, objective) | {"stage": "done"})


def _measured(metrics: Mapping[str, float], name: str | None) -> dict[str, Any]:
    """The objective, which Tune wants of every trial, and how the log shows it: not at all where it is not measured."""
    if name is None or name not in metrics:
        return {OBJECTIVE: 0.0}
    return {OBJECTIVE: metrics[name], "shown": f"{name} {metrics[name]:.3f}"}
