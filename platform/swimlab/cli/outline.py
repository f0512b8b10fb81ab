"""What `plan` says of a named recipe whose annotation files are not here: what the table would cost with the paper's
rows, by arithmetic. No trial has a name before its data has."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from swim import recipes
from swim.recipe import NLReferFiles, Recipe
from swimlab.cli import benchmark_view, forecast_view
from swimlab.experiment import cards, planned_benchmarks, training_forecast
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.plan import check_measured
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.training_forecast import TrainingForecast
from swimlab.identity.naming import Identifier
from swimlab.report.number_format import duration
from swimlab.store.sweep_store import SweepStore

PAPER_ROWS = 235_000  # conversations, section 4.1: 125K with masks and 110K of text alone


def missing_files(recipe: Recipe, settings: Settings) -> list[str]:
    """The annotation files that a named recipe expects and that are not here. Empty for files that the user named: one
    of those that is missing is a mistake."""
    named = (settings.recipe or "") in recipes.RECIPES
    if not named or not isinstance(recipe.data, NLReferFiles) or any("data" in path for path in _paths(settings)):
        return []
    return [file for file in recipe.data.annotations if not Path(file).exists()]


def _paths(settings: Settings) -> list[list[str]]:
    return [assignment.partition("=")[0].split(".") for assignment in settings.set]


def lines(
    ablation: Ablation, recipe: Recipe, settings: Settings, store: SweepStore, identifier: Identifier
) -> Iterator[str]:
    """The table's trials, their time and price, and its benchmarks. Raises IdentityError for rows of a benchmark that
    are named and cannot be read, ValueError where nothing measures a metric that is tested."""
    seeds = None if settings.seeds is None else range(settings.seeds)
    planned = ablation.plan(recipe, seeds)
    trials = [trial.recipe for trial in planned]
    ablation, benchmarks = planned_benchmarks.planned(ablation, recipe, settings, identifier)
    check_measured(ablation, recipe, planned, benchmarks)
    files = ", ".join(missing_files(recipe, settings))
    yield f"{ablation.name} on {recipe.name}: by arithmetic, and without names of trials, since its rows are not here"
    yield f"missing    {files}: name yours with --set data.annotations='[\"rows.json\"]' data.videos=FOLDER"
    yield f"assumed    the paper's {PAPER_ROWS:,} conversations an epoch, as long as data.frames allows"
    looks = ", at all looks" if ablation.looks else ""
    yield f"trials     {len(trials)}{looks}, if arms share none: {len(ablation.arms)} arms"
    forecasts = [_forecast(trial, settings) for trial in trials]
    known = [forecast for forecast in forecasts if forecast]
    if known:
        total_s = math.fsum(forecast.train_s for forecast in known)
        hours = total_s * known[0].devices / 3600
        yield f"time       ≈ {duration(total_s)} of trials, {hours:,.4g} GPU-hours"
        yield forecast_view.price(hours, known[0].card, settings.usd_per_hour)
        yield from forecast_view.lines(known[0])
    if len(known) < len(forecasts):
        yield f"           not counted: {len(forecasts) - len(known)} trials of models of unknown speed"
    ids = [f"trial {number}" for number in range(len(trials))]
    yield from benchmark_view.lines(benchmarks, recipe, ids, {}, store, settings)


def _forecast(recipe: Recipe, settings: Settings) -> TrainingForecast | None:
    data, optim = recipe.data, recipe.optim
    if optim.epochs is not None:
        steps = math.ceil(optim.epochs * PAPER_ROWS * data.fraction / optim.batch)
        recipe = recipe.override({"optim.steps": steps})
    return training_forecast.forecast(
        recipe,
        training_forecast.policy_tokens(recipe),
        cards.named(settings.card),
        workers=settings.workers,
        shard=settings.shard,
        micro_batch=settings.micro_batch,
    )
