"""A search as an Optuna study that anybody can open: studies/<search>/<recipe>/journal.log in the store.

    optuna-dashboard swimlab-store/studies/joint/tiny-hard-look/journal.log

Two studies in one file: the search with its objectives, and "<search> rungs", the first objective alone with what was
measured at each rung (Optuna keeps intermediate values for studies of one objective only). A cache: delete it and
`report` writes it again from the store.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from swimlab.base.times import utc_time
from swimlab.execution.search.results import Proposal, ProposalResult, numbers_of
from swimlab.store.scratch import scratch_folder

if TYPE_CHECKING:
    from swimlab.execution.search.results import SearchResults


def path(search: str, recipe: str) -> str:
    """Where the journal lies, relative to the store."""
    return f"studies/{search}/{recipe}/journal.log"


def export(results: SearchResults) -> None:
    """Write the studies, replacing what is there."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with scratch_folder("study") as scratch:
        file = scratch / "journal.log"
        fill(results, JournalStorage(JournalFileBackend(str(file))))
        results.store.backend.replace(path(results.search.name, results.recipe.name), file.read_bytes())


def fill(results: SearchResults, storage: Any = None) -> Any:
    """The study of a search, and in `storage` (default: memory) the one of its rungs beside it; returns the first."""
    directions = ["maximize" if metric.higher_is_better else "minimize" for metric in results.search.objectives]
    study = _named(storage, results.search.name, directions, results.names)
    about = {"question": results.search.question, "recipe": results.recipe.name, "chosen_on": "validation clips"}
    for name, value in about.items():
        study.set_user_attr(name, value)
    study.add_trials([_optuna_trial(results, point, answer) for point, answer in results.points])
    if storage is not None and results.search.pruning:
        rungs = _named(storage, f"{results.search.name} rungs", directions[:1], results.names[:1])
        rungs.add_trials([_optuna_trial(results, point, answer, first_only=True) for point, answer in results.points])
    return study


def _named(storage: Any, name: str, directions: Sequence[str], metrics: Sequence[str]) -> Any:
    study = optuna.create_study(study_name=name, directions=list(directions), storage=storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(metrics))
    return study


def _optuna_trial(
    results: SearchResults, point: Proposal, answer: ProposalResult | None, first_only: bool = False
) -> Any:
    state = answer.state if answer else TrialState.WAITING
    values = list(answer.values) if answer and state == TrialState.COMPLETE else []
    trial = optuna.trial.create_trial(
        state=state,
        values=(values[:1] if first_only else values) or None,
        params=point.params,
        distributions={axis.path: axis.distribution() for axis in results.search.space},
        user_attrs=_user_attributes(results, point, answer),
        intermediate_values=dict(answer.rungs) if answer and first_only else None,
    )
    if answer and answer.record:
        # When it ran, not when it was exported; `create_trial` knows only now.
        trial.datetime_start = _local(answer.record.provenance.started_at)
        trial.datetime_complete = _local(answer.record.provenance.finished_at)
    return trial


def _local(utc: str) -> datetime:
    """Optuna's clock: naive local time."""
    return utc_time(utc).astimezone().replace(tzinfo=None)


def _user_attributes(results: SearchResults, point: Proposal, answer: ProposalResult | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {"trial_id": point.spec.trial_id if point.spec else None}
    if point.spec:
        attributes["evaluations"] = {e.suite: e.evaluation_id for e in point.spec.evaluations}
    if point.number in results.repeats:
        attributes["repeats"] = results.repeats[point.number]
    if answer and answer.rungs:
        attributes["rungs"] = {str(step): value for step, value in answer.rungs.items()}
    if answer and answer.problem:
        attributes["problem"] = answer.problem.strip().splitlines()[-1]
    if answer and answer.record:
        attributes |= {f"measured.{name}": value for name, value in numbers_of(answer.record).items()}
    return attributes
