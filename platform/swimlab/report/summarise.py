"""Builds the table of an ablation (`swimlab.report.table`) from trial records: intervals, differences, claims."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from swim.recipe import HubModel, NLReferFiles, Recipe, ShapesWorld
from swimlab.experiment import mediation, tuning
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.claim import Claim, cancels
from swimlab.experiment.plan import same_trials
from swimlab.experiment.results import ArmResult, Results
from swimlab.report.table import ArmRow, Cell, ClaimRow, Column, SelfTest, Table, TrialLine
from swimlab.stats import intervals, pairing, verdicts
from swimlab.stats.intervals import Interval
from swimlab.stats.pairing import Origin
from swimlab.stats.verdicts import ClaimData
from swimlab.store.flat_rows import trial_row


def summarise(results: Results) -> Table:
    """Builds the table that every rendering of an ablation shows.

    A trial without a record, or a record without a metric, is listed as a problem and left out of all means: no value
    is imputed.
    """
    ablation, recipe_name = results.ablation, results.recipe.name
    primary = ablation.primary
    columns = tuple(Column(m.name, m.measured(recipe_name), m is primary) for m in ablation.metrics)
    comparable = recipe_name == ablation.paper.recipe and primary.name == primary.measured(recipe_name)
    values = {column.measured: _values(results, column.measured) for column in columns}
    trials = tuple(_line(trial, columns) for trial in results.trials)
    scores = values[primary.measured(recipe_name)]
    shared = {a.name: a.name for a in ablation.arms}  # an arm that is not tuned yet has no trials
    shared |= same_trials((trial.arm, trial.trial_id) for trial in results.trials)
    tuned = {state.arm: state.choice or {} for state in results.tuning}
    ids = {a.name: {t.seed: t.trial_id for t in results.trials if t.arm == a.name} for a in ablation.arms}
    origins: dict[str, dict[int, Origin]] = {a.name: {} for a in ablation.arms}
    for line in trials:
        if line.origin:
            origins[line.arm][line.seed] = line.origin
    mixture = pairing.mixture({line.trial_id: line.origin for line in trials if line.origin})
    claims = _mediated(results, _claims(ablation, scores, shared, ids, origins, comparable, mixed=bool(mixture)))
    rows = tuple(
        ArmRow(
            arm=arm.name,
            changes=arm.overrides,
            preset=arm.preset,
            tuned=tuned.get(arm.name, {}),
            paper=ablation.paper.rows.get(arm.name),
            cells=tuple(_cell(values[column.measured].get(arm.name, {}), ids[arm.name]) for column in columns),
            over_reference=_over_reference(scores, ids, origins, arm.name, ablation.reference, shared),
            claims=tuple(i for i, claim in enumerate(claims) if arm.name in claim.arms),
            trials=tuple({line.trial_id: line for line in reversed(trials) if line.arm == arm.name}.values())[::-1],
            same_as=None if shared[arm.name] == arm.name else shared[arm.name],
        )
        for arm in ablation.arms
    )
    return Table(
        name=ablation.name,
        title=ablation.paper.table or ablation.name,
        question=ablation.question,
        recipe_name=recipe_name,
        paper_recipe=ablation.paper.recipe,
        comparable=comparable,
        caveat=_caveat(results, comparable)
        + tuning.caveat(ablation.tuned, results.tuning, primary.measured(recipe_name))
        + ("" if mixture else _missing_provenance_note(results)),
        replication=replication(results.recipe),
        columns=columns,
        rows=rows,
        claims=claims,
        # The A/A test compares an arm's trials with each other, which a mixture does not allow.
        self_test=None if mixture else _self_test(ablation, scores, ids),
        reference=ablation.reference,
        seeds=tuple(sorted({trial.seed for trial in results.trials})),
        mixture=mixture,
        quarantine=dict(results.quarantine),
        notes=tuple(ablation.paper.notes),
        wall_s=results.wall_s,
        trials=trials,
        protocol=results.protocol,
    )


def _caveat(results: Results, comparable: bool) -> str:
    recipe, paper = results.recipe, results.ablation.paper.recipe
    data = recipe.data
    note = ""
    if isinstance(data, NLReferFiles) and not data.held_out_annotations:
        note = " No held-out annotations were given: every score here is of the training rows."
    if comparable:
        return f"Recipe {recipe.name} is the paper's own class: gaps are compared with the paper's numbers.{note}"
    if recipe.model.kind == "tiny":
        source = "the embedded data" if isinstance(data, ShapesWorld) else "your own data"
        return (
            f"Every verdict here is about recipe {recipe.name}, a tiny model on {source}: it speaks about the "
            f"mechanism, never about a 7B model. The paper's numbers ({paper}) are shown for orientation; only "
            f"directions are compared.{note}"
        )
    return (
        f"Recipe {recipe.name} is not the paper's ({paper}), or its metric is a stand-in: only directions are "
        f"compared.{note}"
    )


def replication(recipe: Recipe) -> str:
    """A sentence: what the seeds of a table replicate, and what all of its trials share."""
    if recipe.init is not None:
        start = f"one base (the weights of recipe {recipe.init.name})"
    else:
        start = "one checkpoint" if isinstance(recipe.model, HubModel) else "one draw of initial weights"
    lora = " and the adapters' first values" if isinstance(recipe.model, HubModel) and recipe.model.lora else ""
    return (
        f"Seeds replicate the order of batches{lora} and nothing else: all trials share {start}, one data draw and one "
        "test set. The intervals do not cover another base, other data or another machine, where rounding leads to "
        "another base and some verdicts came out differently."
    )


def _values(results: Results, metric: str) -> dict[str, dict[int, float]]:
    values: dict[str, dict[int, float]] = {}
    for trial in results.trials:
        if trial.record and metric in trial.record.metrics:
            values.setdefault(trial.arm, {})[trial.seed] = trial.record.metrics[metric]
    return values


def _missing_provenance_note(results: Results) -> str:
    """A sentence about records without the fields that show whether trials may be compared."""
    if all(trial.record is None or trial.record.start_weights for trial in results.trials):
        return ""
    return (
        " The records were made by an older swimlab, which recorded neither the processor nor the hash of the "
        "weights a trial started from: that they may be compared is assumed."
    )


def _line(trial: ArmResult, columns: tuple[Column, ...]) -> TrialLine:
    record = trial.record
    if record is None:
        state = "failed" if trial.failure else "missing"
        return TrialLine(trial.arm, trial.seed, trial.trial_id, state, trial.failure or "not run yet")
    absent = [column.measured for column in columns if column.measured not in record.metrics]
    problem = f"its record has no {', '.join(absent)}" if absent else ""
    cost = record.cost
    values = {column.measured: record.metrics[column.measured] for column in columns if column.measured not in absent}
    origin = Origin.of(trial_row(record))
    return TrialLine(
        trial.arm,
        trial.seed,
        trial.trial_id,
        "done",
        problem,
        cost.wall_s,
        cost.cpu_s,
        values,
        origin,
        cost.tokens_per_s,
        cost.mfu,
    )


def _cell(values: Mapping[int, float], ids: Mapping[int, str]) -> Cell:
    """The values of an arm and their interval; seeds that share one trial are counted once."""
    ordered = {seed: values[seed] for seed in sorted({ids[s]: s for s in sorted(values, reverse=True)}.values())}
    return Cell(ordered, intervals.interval(list(ordered.values())) if ordered else None)


def _over_reference(
    scores: Mapping[str, Mapping[int, float]],
    ids: Mapping[str, Mapping[int, str]],
    origins: Mapping[str, Mapping[int, Origin]],
    arm: str,
    reference: str | None,
    shared: Mapping[str, str],
) -> Interval | None:
    if reference is None or shared[arm] == shared[reference]:
        return None
    paired = intervals.paired_differences({arm: 1.0, reference: -1.0}, scores, ids, origins=origins)
    return intervals.interval(list(paired.values())) if paired else None


def _claims(
    ablation: Ablation,
    scores: Mapping[str, Mapping[int, float]],
    shared: Mapping[str, str],
    ids: Mapping[str, Mapping[int, str]],
    origins: Mapping[str, Mapping[int, Origin]],
    comparable: bool,
    *,
    mixed: bool,
) -> tuple[ClaimRow, ...]:
    above = [claim.threshold or 0.0 for claim in ablation.paper.claims]
    weights = [ablation.oriented_weights(claim) for claim in ablation.paper.claims]
    paired = [
        intervals.paired_differences(w, scores, ids, value, origins) for w, value in zip(weights, above, strict=True)
    ]
    finished = [len(intervals.paired_differences(w, scores, ids)) for w in weights]
    evidence = [
        ClaimData(
            differences=tuple(differences.values()),
            margin=claim.margin,
            non_inferiority=claim.non_inferiority,
            paper_gap=_paper_gap(ablation, claim) if comparable else None,
            direction_only=not comparable,
            same_trials=cancels(w, shared),
            unpaired=n - len(differences),
        )
        for claim, w, differences, n in zip(ablation.paper.claims, weights, paired, finished, strict=True)
    ]
    return tuple(
        ClaimRow(claim.text, w, value, claim.margin, outcome, tuple(differences))
        for claim, w, value, differences, outcome in zip(
            ablation.paper.claims, weights, above, paired, verdicts.judge(evidence, mixed=mixed), strict=True
        )
    )


def _mediated(results: Results, claims: tuple[ClaimRow, ...]) -> tuple[ClaimRow, ...]:
    """The claims with the mediation of their arms, where they are about answers."""
    ablation, claimed = results.ablation, results.ablation.primary.measured(results.recipe.name)
    recipes = {arm.name: ablation.resolve(results.recipe, arm, ablation.seeds[0]) for arm in ablation.arms}
    metrics = {arm: mediation.mediating_metric(recipe) for arm, recipe in recipes.items()}
    values = {metric: _values(results, metric) for metric in metrics.values() if metric is not None}
    weights = [ablation.contrast(claim) for claim in ablation.paper.claims]
    return tuple(
        replace(claim, mediation=mediation.of_claim(claimed, of_arms, claim.margin, metrics, values))
        for claim, of_arms in zip(claims, weights, strict=True)
    )


def _paper_gap(ablation: Ablation, claim: Claim) -> float | None:
    weights, rows = ablation.oriented_weights(claim), ablation.paper.rows
    if not set(weights) <= set(rows):
        return None
    return math.fsum(w * rows[arm] for arm, w in weights.items()) - (claim.threshold or 0.0)


def _self_test(
    ablation: Ablation, scores: Mapping[str, Mapping[int, float]], ids: Mapping[str, Mapping[int, str]]
) -> SelfTest | None:
    # The arm with most trials (of equals, the first) gives the narrowest interval of the machine's own noise.
    cells = {a.name: _cell(scores.get(a.name, {}), ids[a.name]) for a in ablation.arms}
    arm = max(cells, key=lambda name: len(cells[name].values))
    differences = intervals.a_a_differences(list(cells[arm].values.values()))
    return SelfTest(arm, intervals.interval(differences)) if differences else None
