"""Rungs: where a trial of a search stops to ask whether to go on, and what that leaves in the store.

    rungs/<trial_id>/<evaluation_id>/<step>-<clips>.json    what was measured there; the same whoever ran the trial
    pruned/<trial_id>/<evaluation_id>/<step>.json           a trial that ended there: a result, with its cost; no
                                                            record, so that an ablation may still run it to its end

Both name the evaluation by which the trial was judged: another suite, another configuration or other code of the suite
judges it anew.

Optuna refuses to prune with several objectives, so the rule sees a study of one, the first. It is rebuilt wherever a
decision is taken, from the points of finished generations: no trial waits for a coordinator, and the decision is the
same in every run of the search.
"""

from __future__ import annotations

import copy
import json
from typing import Any, Literal, TypeVar

import optuna
from optuna.trial import TrialState
from pydantic import FiniteFloat

from swim.recipe import Frozen
from swimlab.execution.exactly_once import EndedWithoutRecord
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.identity.splits import Scored, measured_on
from swimlab.store.errors import StoreError
from swimlab.store.paths import checked_trial_id
from swimlab.store.records import Cost, Provenance
from swimlab.store.sealed_json import SealedModel
from swimlab.store.sweep_store import SweepStore

SCHEMA_VERSION = 1


class Rung(SealedModel):
    """What one suite measures after `step` optimiser steps on the first `clips` clips of a split. No time and no host:
    a rerun writes the same bytes."""

    schema_version: int = SCHEMA_VERSION
    trial_id: str
    evaluation_id: str
    split: Scored = "held_out"
    step: int
    clips: int
    metrics: dict[str, FiniteFloat]

    @property
    def named_metrics(self) -> dict[str, float]:
        """The metrics as results name them (`splits.measured_on`)."""
        return {measured_on(name, self.split): value for name, value in self.metrics.items()}

    @property
    def path(self) -> str:
        """Where it is, relative to the store."""
        folder = f"rungs/{checked_trial_id(self.trial_id)}/{checked_trial_id(self.evaluation_id)}"
        return f"{folder}/{self.step}-{self.clips}.json"


class PrunedRecord(SealedModel):
    """A trial that a search ended at a rung. `rungs` are the values of `objective` it had reached, by step; `metrics`
    all that was measured at the last. `rungs_data_fingerprint`: of the clips that its rungs were scored on; "" in older
    records, of which these are the reported clips."""

    schema_version: int = SCHEMA_VERSION
    state: Literal["PRUNED"] = "PRUNED"
    trial_id: str
    attempt: int
    search: str
    objective: str
    evaluation_id: str
    step: int
    clips: int
    rungs: dict[int, FiniteFloat]
    metrics: dict[str, FiniteFloat]
    recipe: dict[str, Any]
    recipe_name: str
    seed: int
    init_trial_id: str | None
    start_weights: str | None = None
    code_fingerprint: str
    data_fingerprint: str
    rungs_data_fingerprint: str = ""
    cost: Cost
    provenance: Provenance

    @property
    def path(self) -> str:
        """Where it is, relative to the store."""
        return _pruned_path(self.trial_id, self.evaluation_id, self.step)


class TrialPruned(EndedWithoutRecord):  # no error: a result
    """A trial of a search ended at a rung."""

    def __init__(self, record: PrunedRecord) -> None:
        super().__init__(f"pruned at step {record.step}")
        self.record = record


Model = TypeVar("Model", Rung, PrunedRecord)


class EarlierTrial(Frozen):
    """A finished point as the pruner sees it: how it ended, its final value of the first objective, and its rungs."""

    state: Literal["COMPLETE", "PRUNED", "FAIL"]
    value: FiniteFloat | None = None
    rungs: dict[int, FiniteFloat]


class PruningContext(Frozen):
    """All a trial needs, beside the pruner, to decide at its rungs by itself. `suite` measures the objective;
    `earlier` are the points of finished generations, in the order in which they were proposed."""

    search: str
    objective: str
    suite: str
    higher_is_better: bool
    steps: tuple[int, ...]
    clips: int
    earlier: tuple[EarlierTrial, ...] = ()


class PrunerReplay:
    """An Optuna pruner that has been told the earlier points, for one trial's decisions at its rungs."""

    def __init__(self, gate: PruningContext, pruner: Any) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.rungs: dict[int, float] = {}
        self._study = optuna.create_study(
            direction="maximize" if gate.higher_is_better else "minimize",
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=copy.deepcopy(pruner),  # some remember what they saw
        )
        for trace in gate.earlier:
            trial = self._study.ask()
            for step, value in sorted(trace.rungs.items()):
                trial.report(value, step)
                trial.should_prune()  # some rules note on a trial how far it came
            self._study.tell(trial, trace.value if trace.state == "COMPLETE" else None, state=TrialState[trace.state])
        self._trial = self._study.ask()

    def stops(self, step: int, value: float) -> bool:
        """Tells the pruner the value at a rung, and returns whether the trial ends here. Rungs must be told in
        order."""
        self.rungs[step] = value
        self._trial.report(value, step)
        return bool(self._trial.should_prune())


def known_rungs(store: SweepStore, trial_id: str, evaluation_id: str, clips: int) -> dict[int, Rung]:
    """What is in the store about a trial's rungs, by this evaluation and with this many clips, by step. Raises
    StoreError for a bad file."""
    rungs = {}
    for path in store.list_files(f"rungs/{checked_trial_id(trial_id)}/{checked_trial_id(evaluation_id)}"):
        step, _, counted = path.rpartition("/")[2].removesuffix(".json").partition("-")
        if counted == str(clips):
            rungs[int(step)] = _parsed(Rung, store, path)
    return dict(sorted(rungs.items()))


def put_rung(store: SweepStore, rung: Rung) -> None:
    """Create-only: an earlier attempt measured the same."""
    store.put_create_only(rung.path, rung.to_json())


def put_pruned(store: SweepStore, record: PrunedRecord) -> None:
    """Create-only: of several runs that ended the trial at this rung, the first one's costs are kept."""
    store.put_create_only(record.path, record.to_json())


def ended(gate: PruningContext, pruner: Any, store: SweepStore, spec: TrialSpec) -> PrunedRecord | None:
    """The stored result of a trial that was ended at a rung where this context would end it too; runs nothing."""
    judge, evaluation_id = PrunerReplay(gate, pruner), spec.evaluation(gate.suite).evaluation_id
    for step, rung in known_rungs(store, spec.trial_id, evaluation_id, gate.clips).items():
        if step in gate.steps and judge.stops(step, value_of(rung, gate.objective)):
            path = _pruned_path(spec.trial_id, evaluation_id, step)
            return _parsed(PrunedRecord, store, path) if store.exists(path) else None
    return None


def value_of(rung: Rung, objective: str) -> float:
    """Raises ValueError when the rung's clips do not have the metric."""
    if objective not in rung.metrics:
        raise ValueError(f"{objective!r} cannot be measured on {rung.clips} clips: prune on more of them")
    return rung.metrics[objective]


def _pruned_path(trial_id: str, evaluation_id: str, step: int) -> str:
    return f"pruned/{checked_trial_id(trial_id)}/{checked_trial_id(evaluation_id)}/{step}.json"


def _parsed(kind: type[Model], store: SweepStore, path: str) -> Model:
    data = store.read(path)
    try:
        version = json.loads(data).get("schema_version")
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"{store.uri}/{path} has schema_version {version}, this swimlab reads {SCHEMA_VERSION}; update swimlab"
            )
        content = kind.from_json(data)
        if content.path != path:
            raise ValueError(f"it is that of {content.path}")
    except (ValueError, AttributeError) as error:
        raise StoreError(f"{store.uri}/{path} is no {kind.__name__}, or is damaged ({error}); delete it") from error
    return content
