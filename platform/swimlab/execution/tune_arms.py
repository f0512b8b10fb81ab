"""Tuned axes: before an ablation's arms run, each gets a search of its own, all with the same space, budget and seed.

Arms are what is compared; a tuned parameter is chosen for each arm separately, on a seed that the table does not use.
The points are ordinary trials of the store, from which the state of the tuning is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from swimlab.experiment.search import Search

if TYPE_CHECKING:
    from contextlib import ExitStack

    from rich.console import Console

    from swim.recipe import Recipe
    from swimlab.experiment.ablation import Ablation
    from swimlab.experiment.plan import Plan
    from swimlab.experiment.run_settings import Settings
    from swimlab.store.sweep_store import SweepStore
from swimlab.experiment.tuning import ArmTuning


def tuning_states(ablation: Ablation, recipe: Recipe, settings: Settings) -> tuple[ArmTuning, ...]:
    """The state of every arm's tuning in the store; () for an ablation that tunes nothing. Writes nothing, starts no
    Ray."""
    if ablation.tuned is None:
        return ()  # and no Optuna is imported
    from swimlab.execution.search import run_search
    from swimlab.execution.search.ask_tell import SearchLoop
    from swimlab.experiment.stored_results import stored_results
    from swimlab.identity import naming
    from swimlab.store.backends.patience import SHORT_S
    from swimlab.store.sweep_store import SweepStore

    states, store = [], SweepStore(settings.store, patience_s=SHORT_S)
    identifier = naming.Identifier(settings.cache)
    for arm, search, arm_recipe in _searches(ablation, recipe):
        loop = SearchLoop(search, arm_recipe, store, settings.cache, retry=False)
        loop.todo()
        choice, scores = None, None
        if (best := loop.best()) is not None and len(loop.answers) == search.budget:
            choice = {axis.path: axis.value(best.params[axis.path]) for axis in search.space}
            (winner,) = run_search.winner(loop, settings)
            measured = stored_results(store, [winner])[winner.trial_id].metrics
            if (reported := measured.get(search.reported(arm_recipe)[0])) is not None:
                scores = loop.answers[best.number].values[0], reported
        failed = sum(not answer.values for answer in loop.answers.values())
        ids = dict.fromkeys(point.spec.trial_id for point in loop.points if point.spec)
        states.append(
            ArmTuning(
                arm,
                search.budget,
                len(loop.answers),
                failed,
                choice,
                tuple(ids),
                data_fingerprint=identifier.data_fingerprint(arm_recipe.data),
                validation_fingerprint=identifier.validation(arm_recipe).data_fingerprint,
                suites=identifier.suites(arm_recipe),
                scores=scores,
            )
        )
    return tuple(states)


def tune(
    plans: Sequence[Plan], store: SweepStore, settings: Settings, console: Console, resources: ExitStack
) -> list[Plan]:
    """Runs the points that tuning lacks, and plans again with the values it chose; protocols are declared first. A Ray
    that is started here is closed by `resources`, because the arms run in it too.

    A point that failed is run again, as every failed trial is. Raises the same errors as `run_search.execute`.
    """
    if not any(plan.ablation.tuned for plan in plans):
        return list(plans)
    from swimlab.execution.search import optuna_study, run_search
    from swimlab.execution.search.ask_tell import SearchLoop
    from swimlab.experiment import protocol
    from swimlab.experiment.plan import make_plan

    open_points, work = 0, []
    for _, search, arm_recipe in [arm_search for plan in plans for arm_search in _searches(plan.ablation, plan.recipe)]:
        todo = SearchLoop(search, arm_recipe, store, settings.cache, retry=True).todo()
        open_points += len(todo)
        # The study is a cache: whoever deletes it gets it again.
        if todo or not store.exists(optuna_study.path(search.name, arm_recipe.name)):
            work.append((search, arm_recipe))
    if open_points:
        from swimlab.execution import cluster  # Ray, and only now

        store.check_writable()
        cluster.check_durable(store.uri)
        for plan in plans:
            protocol.declare(plan, store)
        resources.enter_context(cluster.ray_session())
    for search, arm_recipe in work:
        run_search.execute(search, arm_recipe, settings, console)
    return [
        make_plan(p.ablation, p.recipe, settings, p.seeds, tuning=tuning_states(p.ablation, p.recipe, settings))
        if p.ablation.tuned
        else p
        for p in plans
    ]


def _searches(ablation: Ablation, recipe: Recipe) -> list[tuple[str, Search, Recipe]]:
    """Arm, its search, and the arm's own recipe, which the search varies."""
    if (tuned := ablation.tuned) is None:
        return []
    return [
        (
            arm.name,
            tuned.search(ablation.name, ablation.primary, ablation.recipe, arm.name),
            ablation.resolve(recipe, arm, tuned.seed),
        )
        for arm in ablation.arms
    ]
