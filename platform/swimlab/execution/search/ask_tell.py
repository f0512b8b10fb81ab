"""The loop of a search: Optuna proposes points, and the store answers those whose trials have ended.

Each proposal is an Optuna trial and stands for a trial of the store, named by recipe, code and data. Proposals with the
same name share one trial, which is run once.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from swim.evaluation.suite import suite_of
from swim.recipe import Recipe
from swimlab.execution import faults
from swimlab.execution.search import pruning_rungs
from swimlab.execution.search.pruning_rungs import PrunedRecord, PruningContext
from swimlab.execution.search.results import Proposal, ProposalResult, numbers_of
from swimlab.experiment.search import Search, Value
from swimlab.experiment.stored_results import failure_records, failures, is_complete, stored_results
from swimlab.experiment.trial_spec import TrialSpec, name_trial
from swimlab.store.sweep_store import SweepStore


class SearchLoop:
    """Proposals and answers, in the order of proposal. With `retry`, a trial that failed in an earlier run is run
    again; without, its failure is the answer. Raises ValueError or IdentityError for what cannot run."""

    def __init__(self, search: Search, recipe: Recipe, store: SweepStore, cache: Path, *, retry: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.search, self.recipe = search, recipe
        self.points: list[Proposal] = []
        self.answers: dict[int, ProposalResult] = {}
        self._store, self._cache, self._retry = store, cache, retry
        self._names = search.judged_by(recipe)
        self._first = search.reported(recipe)[0]  # as a rung names it, which is of one split
        self._suite = suite_of(self._first, recipe.evaluation) or ""
        self._space = {axis.path: axis.distribution() for axis in search.space}
        self._known: dict[str, ProposalResult] = {}
        self._tried_again: set[str] = set()
        self._open: list[tuple[Any, Proposal]] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = copy.deepcopy(search.sampler) or optuna.samplers.TPESampler(
                # A third of the budget at random first; then proposals of one generation keep away from each other.
                seed=search.seed, n_startup_trials=max(1, search.budget // 3), multivariate=True, constant_liar=True
            )  # fmt: skip
        self._study = optuna.create_study(
            directions=["maximize" if metric.higher_is_better else "minimize" for metric in search.objectives],
            sampler=sampler,
        )
        for start in search.start:
            self._study.enqueue_trial(dict(start))

    @property
    def gate(self) -> PruningContext | None:
        """What trials of the generation under way are pruned by."""
        if (pruning := self.search.pruning) is None:
            return None
        # A trial that was proposed twice is one observation.
        passed_over = {point.number for _, point in self._open} | {point.number for point, _ in self.repeats()}
        return PruningContext(
            search=self.search.name,
            objective=self._first,
            suite=self._suite,
            higher_is_better=self.search.objectives[0].higher_is_better,
            steps=pruning.steps(self.recipe),
            clips=pruning.clips,
            earlier=tuple(self.answers[p.number].trace for p in self.points if p.number not in passed_over),
        )

    def todo(self) -> list[Proposal]:
        """Propose generation after generation as long as the store has the answers; what is left to run of the first
        where it has not, each trial once. Empty when the budget is spent."""
        while True:
            missing: dict[str, Proposal] = {}
            for _, point in self._open:
                if point.number not in self.answers and not self._answer(point):
                    assert point.spec is not None
                    missing.setdefault(point.spec.trial_id, point)
            if missing:
                return list(missing.values())
            self._tell()
            if len(self.points) == self.search.budget:
                return []
            self._propose(min(self.search.generation, self.search.budget - len(self.points)))

    def best(self) -> Proposal | None:
        """The best complete point so far: by the first objective, then by the others; of equals the earliest."""
        answered = [(p, self.answers[p.number]) for p in self.points if p.number in self.answers]
        ranked = [((*answer.rank(self.search), -point.number), point) for point, answer in answered if answer.values]
        return max(ranked, key=lambda pair: pair[0])[1] if ranked else None

    def settle(self, point: Proposal) -> ProposalResult | None:
        """Reads what a trial that has just ended left in the store. None, once a trial, where the store or a dead
        process interrupted it: then `todo` returns it again, once the other trials of its generation have ended."""
        assert point.spec is not None
        trial_id = point.spec.trial_id
        answer = self._stored(point.spec)
        if answer is None:
            # A process that dies leaves nothing at first: its failure is written when its claim has lapsed.
            problem, kind = "it left neither a result nor a failure", faults.LOST
            if failure := failure_records(self._store, [point.spec], stored_results(self._store, [point.spec])):
                problem, kind = failure[trial_id]["error"], failure[trial_id]["kind"]
            if kind in faults.INTERRUPTIONS and trial_id not in self._tried_again:
                self._tried_again.add(trial_id)
                return None
            answer = ProposalResult(TrialState.FAIL, rungs=self._reached(point.spec), problem=problem)
        self._known[trial_id] = answer
        return answer

    def repeats(self) -> Iterator[tuple[Proposal, Proposal]]:
        """Points that share the trial of an earlier point, each with that point."""
        first: dict[str, Proposal] = {}
        for point in self.points:
            if point.spec and first.setdefault(point.spec.trial_id, point) is not point:
                yield point, first[point.spec.trial_id]

    def _propose(self, count: int) -> None:
        for _ in range(count):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Optuna warns of what it does with a start that names some axes only
                trial = self._study.ask(self._space)
            point = self._point(trial.number, trial.params)
            self.points.append(point)
            self._open.append((trial, point))

    def _point(self, number: int, params: Mapping[str, Value]) -> Proposal:
        ordered = {path: params[path] for path in self._space}
        try:
            recipe = self.search.resolve(self.recipe, ordered)
        except ValueError as error:
            return Proposal(number, ordered, None, str(error))
        return Proposal(number, ordered, name_trial(f"point {number}", recipe, self._cache, ("validation",)))

    def _answer(self, point: Proposal) -> bool:
        if point.spec is None:
            self.answers[point.number] = ProposalResult(TrialState.FAIL, problem=point.problem)
        elif answer := self._known.get(point.spec.trial_id) or self._stored(point.spec):
            self.answers[point.number] = self._known[point.spec.trial_id] = answer
        return point.number in self.answers

    def _tell(self) -> None:
        for trial, point in self._open:
            answer = self.answers[point.number]
            if len(self._names) == 1:  # TPE ranks pruned trials by their rungs, and cannot with several objectives
                for step, value in answer.rungs.items():
                    trial.report(value, step)
            self._study.tell(trial, answer.values or None, state=answer.state)
        self._open = []

    def _stored(self, spec: TrialSpec) -> ProposalResult | None:
        results = stored_results(self._store, [spec])
        if is_complete(spec, results):
            record = results[spec.trial_id]
            numbers = numbers_of(record)
            if missing := [name for name in self._names if name not in numbers]:
                return ProposalResult(TrialState.FAIL, record=record, problem=f"its record has no {', '.join(missing)}")
            values = tuple(numbers[name] for name in self._names)
            return ProposalResult(TrialState.COMPLETE, values, self._reached(spec), record)
        if pruned := self._ended(spec):
            passed = {step: value for step, value in self._reached(spec).items() if step <= pruned.step}
            return ProposalResult(TrialState.PRUNED, rungs=passed, record=pruned)
        if not self._retry and (failed := failures(self._store, [spec], results)):
            return ProposalResult(TrialState.FAIL, rungs=self._reached(spec), problem=failed[spec.trial_id])
        return None

    def _ended(self, spec: TrialSpec) -> PrunedRecord | None:
        pruning, gate = self.search.pruning, self.gate
        return pruning_rungs.ended(gate, pruning.rule(), self._store, spec) if pruning and gate else None

    def _reached(self, spec: TrialSpec) -> dict[int, float]:
        if (pruning := self.search.pruning) is None:
            return {}
        evaluation_id, steps = spec.evaluation(self._suite).evaluation_id, pruning.steps(self.recipe)
        rungs = pruning_rungs.known_rungs(self._store, spec.trial_id, evaluation_id, pruning.clips)
        return {step: pruning_rungs.value_of(rung, self._first) for step, rung in rungs.items() if step in steps}
