"""From a search to its results: asks the store first, runs what it lacks, exports the study, and gathers everything.

A search that the store can answer completely never starts Ray.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import pyarrow as pa
from rich.console import Console

from swim.recipe import Recipe, ShapesWorld
from swimlab.execution.search import optuna_study
from swimlab.execution.search.ask_tell import SearchLoop
from swimlab.execution.search.results import Confirmation, SearchResults
from swimlab.experiment import run_manifest
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.search import Search
from swimlab.experiment.stored_results import failures, is_complete, stored_results
from swimlab.experiment.trial_spec import TrialSpec, name_trial
from swimlab.identity import naming
from swimlab.identity.splits import VALIDATION, require_validation
from swimlab.store import provenance
from swimlab.store.arms_tables import ARMS_SCHEMA
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import SweepStore, reachable_store


def check(search: Search, recipe: Recipe, settings: Settings) -> None:
    """Raises ValueError for what cannot run here; touches neither Ray nor the store."""
    if settings.clips == "stream" and isinstance(recipe.data, ShapesWorld):
        raise ValueError("--clips stream is for your own files; the embedded data is small: leave it out")
    if search.pruning and settings.clips == "stream":
        raise ValueError("a trial that decodes while it trains has no CPUs left to score rungs on: set pruning=None")
    if search.pruning and settings.shard:
        raise ValueError("a sharded model is nowhere whole while it trains, so no rung can be scored: set pruning=None")
    if recipe.optim.batch % max(1, settings.workers):
        raise ValueError(f"optim.batch {recipe.optim.batch} does not divide over --workers {settings.workers}")
    for reading in search.readings(recipe):
        require_validation(reading.data)


def execute(search: Search, recipe: Recipe, settings: Settings, console: Console) -> SearchResults:
    """Run what is missing and return everything. Raises StoreError before any work when the store cannot be written,
    PlanError when a trial cannot fit, PipelineError when the data cannot be used."""
    started_s = time.monotonic()
    check(search, recipe, settings)
    store = reachable_store(settings.store)
    loop = SearchLoop(search, recipe, store, settings.cache, retry=True)
    waiting = loop.todo()
    console.print(
        f"{search.name} on {recipe.name}: {len(loop.answers)} of {search.budget} points answered by the store"
    )
    if waiting or _unconfirmed(_to_confirm(loop, settings), store):
        store.check_writable()
        _run(loop, store, settings, console)
    return gather(search, recipe, settings, time.monotonic() - started_s)


def gather(search: Search, recipe: Recipe, settings: Settings, wall_s: float = 0.0) -> SearchResults:
    """The results of a search in the store, by running its loop without trials; writes the study and the tables
    again."""
    store = SweepStore(settings.store)
    loop = SearchLoop(search, recipe, store, settings.cache, retry=False)
    finished = not loop.todo()
    winning = winner(loop, settings) if finished else []
    confirming = confirmations(loop, settings) if finished else []
    open_points = {p.spec.trial_id: p.number for p in loop.points if p.spec and p.number not in loop.answers}
    results = SearchResults(
        search=search,
        recipe=recipe,
        points=tuple((point, loop.answers.get(point.number)) for point in loop.points),
        repeats={point.number: first.number for point, first in loop.repeats()},
        winner=next(iter(_confirmed(winning, store)), None),
        confirmed=tuple(_confirmed(confirming, store)),
        store=store,
        wall_s=wall_s,
        unmeasured=tuple(sorted(open_points[trial_id] for trial_id in store.records(open_points))),
    )
    if any(answer for _, answer in results.points):
        optuna_study.export(results)
        write_tables(store, _arms_table(results))
    return results


def bases(recipe: Recipe, settings: Settings) -> list[TrialSpec]:
    """What every point starts from, the first of all first."""
    chain = []
    while recipe.init is not None:
        recipe = recipe.init
        chain.append(name_trial(recipe.name, recipe, settings.cache))
    return chain[::-1]


def winner(loop: SearchLoop, settings: Settings) -> list[TrialSpec]:
    """The trial of the best complete point, to be measured on the reported clips; none where no point is complete."""
    if (best := loop.best()) is None:
        return []
    recipe = loop.search.resolve(loop.recipe, best.params)
    return [name_trial(f"point {best.number} on the reported clips", recipe, settings.cache)]


def confirmations(loop: SearchLoop, settings: Settings) -> list[TrialSpec]:
    """The best complete point and the recipe as it is, on the seeds of `confirm`; none where no point is complete."""
    search = loop.search
    if (best := loop.best()) is None:
        return []
    arms = {"best point": best.params, "recipe as it is": {}}
    return [
        name_trial(arm, search.resolve(loop.recipe, params, seed), settings.cache)
        for arm, params in arms.items()
        for seed in search.confirm
    ]


def _to_confirm(loop: SearchLoop, settings: Settings) -> list[TrialSpec]:
    return [*winner(loop, settings), *confirmations(loop, settings)]


def _unconfirmed(confirming: list[TrialSpec], store: SweepStore) -> list[TrialSpec]:
    """The trials of the confirmations that are not complete, each once: the best point may be the recipe as it is."""
    specs = {spec.trial_id: spec for spec in confirming}
    done = stored_results(store, specs.values())
    return [spec for spec in specs.values() if not is_complete(spec, done)]


def _confirmed(specs: Sequence[TrialSpec], store: SweepStore) -> list[Confirmation]:
    done = stored_results(store, specs)
    failed = failures(store, specs, done)
    return [Confirmation(s.arm, s, done.get(s.trial_id), failed.get(s.trial_id, "")) for s in specs]


def _run(loop: SearchLoop, store: SweepStore, settings: Settings, console: Console) -> None:
    from swimlab.execution import tune_scheduler  # Ray, and only now
    from swimlab.execution.session import run_session

    search, recipe = loop.search, loop.recipe
    objective = search.reported(recipe)[0]
    with run_session(store, settings, console) as session:
        base_specs, readings = bases(recipe, settings), search.readings(recipe)
        identifier = naming.Identifier(settings.cache)
        trained_on = {spec.clips_fingerprint: spec.recipe for spec in base_specs}
        trained_on |= {identifier.clips(reading).clips_fingerprint: reading for reading in readings}
        session.prepare(trained_on)
        session.prepare({identifier.validation(reading).clips_fingerprint: reading for reading in readings}, VALIDATION)

        def run(specs: list[TrialSpec]) -> None:
            session.archive(specs)
            session.run(specs, {spec.trial_id: objective for spec in specs if spec not in base_specs})

        say = _Announcer(loop, base_specs, store)
        say()
        done = store.records(spec.trial_id for spec in base_specs)
        for spec in base_specs:
            if spec.trial_id in done:
                continue
            run([spec])
            if spec.trial_id not in store.records([spec.trial_id]):
                why = store.failures([spec.trial_id]).get(spec.trial_id, {"error": "it was not run to its end"})
                raise ValueError(f"{spec.recipe.name}, which every point starts from, failed: {why['error']}")
        if loop.todo():
            session.progress.wave(f"{search.name}: points", search.budget)

            def before(spec: TrialSpec) -> None:
                session.archive([spec])
                say()

            tune_scheduler.run_search(
                loop,
                before=before,
                store=store,
                slots=session.slots,
                micro_batch=settings.micro_batch,
                saving=session.saving,
                progress=session.progress,
            )
        # Tune asks no more once it has started twice as many trials as there are points: what ended last is read here.
        if not loop.todo():
            confirming = _to_confirm(loop, settings)
            say(confirming)
            run(_unconfirmed(confirming, store))


class _Announcer:
    """Writes the manifest of the search's trials whenever it has proposed more of them."""

    def __init__(self, loop: SearchLoop, base_specs: Sequence[TrialSpec], store: SweepStore) -> None:
        self._loop, self._bases, self._store = loop, base_specs, store
        self._said = -1

    def __call__(self, confirming: Sequence[TrialSpec] = ()) -> None:
        search, points = self._loop.search, self._loop.points
        if self._said == len(points) and not confirming:
            return
        self._said = len(points)
        trials: dict[str, run_manifest.AnnouncedTrial] = {}
        for spec in (*self._bases, *(point.spec for point in points if point.spec), *confirming):
            about = {"arm": spec.arm, "seed": spec.seed, "steps": spec.recipe.optim.total_steps}
            shown = spec not in self._bases
            trials.setdefault(spec.trial_id, run_manifest.AnnouncedTrial(trial_id=spec.trial_id, shown=shown, **about))
        run_manifest.write(
            run_manifest.RunManifest(
                experiment=search.name,
                recipe=self._loop.recipe.name,
                announced_at=provenance.utc_now(),
                metric=search.objectives[0].measured(self._loop.recipe.name),
                claims=(),
                trials=tuple(trials.values()),
                unproposed=search.budget - len(points),
            ),
            self._store,
        )


def _arms_table(results: SearchResults) -> pa.Table:
    arms = [(f"point {point.number}", results.search.seed, answer.record) for point, answer in results.complete()]
    arms += [(c.arm, c.spec.seed, c.record) for c in results.confirmed]
    return pa.Table.from_pylist(
        [
            {
                "experiment": results.search.name,
                "recipe": results.recipe.name,
                "arm": arm,
                "seed": seed,
                "trial_id": record.trial_id,
            }
            for arm, seed, record in arms
            if record
        ],
        schema=ARMS_SCHEMA,
    )
