"""Builds the table of an ablation (`swimlab.report.table`) from trial records: intervals, differences, claims."""

from __future__ import annotations

from collections.abc import Collection

from swim.recipe import NLReferFiles, ShapesWorld
from swimlab.experiment import tuning
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.judged_claims import ClaimResult, TrialsByArm, judge_claims
from swimlab.experiment.results import ArmResult, Results
from swimlab.report import reading, row_claims
from swimlab.report.replication import machines, replication
from swimlab.report.table import ArmRow, Cell, ClaimRow, Column, OwnReading, SelfTest, Table, TrialLine
from swimlab.stats import intervals, power
from swimlab.stats.intervals import Interval
from swimlab.stats.pairing import Origin
from swimlab.store.evaluation_records import TrialResult
from swimlab.store.flat_rows import trial_row


def summarise(results: Results) -> Table:
    """Builds the table that every rendering of an ablation shows.

    A trial without a record, or a record without a metric, is listed as a problem and left out of all means: no value
    is imputed.
    """
    ablation, recipe_name = results.ablation, results.recipe.name
    primary = ablation.primary
    columns = tuple(Column(m.name, m.measured(recipe_name), m is primary, m.judge) for m in ablation.metrics)
    # A judge's grade never equals `name`: it is of another judge than the paper's, or of another prompt.
    comparable = recipe_name == ablation.paper.recipe and primary.name == primary.measured(recipe_name)
    trials = TrialsByArm(results)
    judged = judge_claims(results, trials, comparable)
    claims = row_claims.beside(results, tuple(map(_claim, judged)))
    own = {claim.own.metric for claim in claims if claim.own}
    lines = tuple(_line(trial, columns, own) for trial in results.trials)
    tuned = {state.arm: state.choice or {} for state in results.tuning}
    elsewhere = "" if trials.mixture else machines(trials.by_seed)
    rows = tuple(
        ArmRow(
            arm=arm.name,
            changes=arm.overrides,
            preset=arm.preset,
            tuned=tuned.get(arm.name, {}),
            paper=ablation.paper.rows.get(arm.name),
            cells=tuple(_cell(trials, column.measured, arm.name) for column in columns),
            over_reference=_over_reference(trials, primary.measured(recipe_name), arm.name, ablation.reference),
            claims=tuple(i for i, claim in enumerate(claims) if arm.name in claim.arms),
            trials=tuple({line.trial_id: line for line in reversed(lines) if line.arm == arm.name}.values())[::-1],
            same_as=None if trials.shared[arm.name] == arm.name else trials.shared[arm.name],
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
        + reading.caveat(results)
        + ("" if trials.mixture else _missing_provenance_note(results)),
        replication=replication(results.recipe, ablation.replicate) + elsewhere,
        replicate=ablation.replicate,
        columns=columns,
        rows=rows,
        claims=claims,
        # The A/A test compares an arm's trials with each other, which trials of several machines do not allow.
        self_test=None if trials.mixture or elsewhere else _self_test(ablation, trials, primary.measured(recipe_name)),
        reference=ablation.reference,
        seeds=tuple(sorted({trial.seed for trial in results.trials})),
        mixture=trials.mixture,
        quarantine=dict(results.quarantine),
        notes=tuple(ablation.paper.notes),
        wall_s=results.wall_s,
        trials=lines,
        protocol=results.protocol,
        looks=tuple(ablation.looks),
        designs=ablation.designs,
        verdicts=ablation.verdicts,
    )


def _caveat(results: Results, comparable: bool) -> str:
    recipe, paper = results.recipe, results.ablation.paper.recipe
    data = recipe.data
    note = "".join(
        f" {item.suite.scorer} was not measured: {'; '.join(item.missing)}."
        for item in results.benchmarks
        if item.missing
    )
    if judges := sorted({metric.judge for metric in results.ablation.metrics} - {""}):
        note += (
            f" Grades are by {', '.join(judges)}, asked in our words: those of another judge or prompt do not compare."
        )
    if isinstance(data, NLReferFiles) and not data.held_out_annotations:
        note += " No held-out annotations were given: every score here is of the training rows."
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
        f"Recipe {recipe.name} is not the paper's ({paper}), or its metric is a stand-in or a judge's: only directions "
        f"are compared.{note}"
    )


def _missing_provenance_note(results: Results) -> str:
    """A sentence about records without the fields that show whether trials may be compared."""
    if all(trial.record is None or trial.record.start_weights for trial in results.trials):
        return ""
    return (
        " The records were made by an older swimlab, which recorded neither the processor nor the hash of the "
        "weights a trial started from: that they may be compared is assumed."
    )


def _line(trial: ArmResult, columns: tuple[Column, ...], own: Collection[str]) -> TrialLine:
    """`own`: metrics of the arms' own reading that claims show, where the trial has them."""
    record = trial.record
    if record is None:
        state = "failed" if trial.failure else "missing"
        return TrialLine(trial.arm, trial.seed, trial.trial_id, state, trial.failure or "not run yet")
    absent = [column.measured for column in columns if column.measured not in record.metrics]
    problem = trial.failure or (f"its record has no {', '.join(absent)}{_undecided(record)}" if absent else "")
    cost = record.cost
    shown = {*(column.measured for column in columns), *own} & record.metrics.keys()
    values = {metric: record.metrics[metric] for metric in sorted(shown)}
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


def _undecided(record: TrialResult) -> str:
    """Which benchmarks gave no mean, and why."""
    families = sorted(
        name.partition(".")[0] for name, value in record.metrics.items() if ".undecided" in name and value
    )
    return f" ({', '.join(families)} UNDECIDED: too many answers have no grade)" if families else ""


def _cell(trials: TrialsByArm, metric: str, arm: str) -> Cell:
    """The values of an arm and their interval; seeds that share one trial are counted once."""
    values, ids = trials.values(metric).get(arm, {}), trials.ids[arm]
    ordered = {seed: values[seed] for seed in sorted({ids[s]: s for s in sorted(values, reverse=True)}.values())}
    return Cell(ordered, intervals.interval(list(ordered.values())) if ordered else None)


def _over_reference(trials: TrialsByArm, metric: str, arm: str, reference: str | None) -> Interval | None:
    if reference is None or trials.shared[arm] == trials.shared[reference]:
        return None
    differences = trials.differences({arm: 1.0, reference: -1.0}, metric)
    return intervals.interval(list(differences.values())) if differences else None


def _claim(result: ClaimResult) -> ClaimRow:
    own_seeds = tuple(seed for seed in result.seeds if seed in result.own)
    own = [result.own[seed] for seed in own_seeds]
    return ClaimRow(
        text=result.claim.text,
        weights=result.weights,
        above=result.above,
        margin=result.claim.margin,
        outcome=result.outcome,
        seeds=result.seeds,
        mediation=result.mediation,
        metric=result.measured,
        about_primary=result.about_primary,
        margin_source=result.claim.margin_source,
        own=OwnReading(result.own_metric, intervals.interval(own), own_seeds) if own else None,
    )


def _self_test(ablation: Ablation, trials: TrialsByArm, metric: str) -> SelfTest | None:
    # The arm with most trials (of equals, the first) gives the narrowest interval of the machine's own noise.
    cells = {a.name: _cell(trials, metric, a.name) for a in ablation.arms}
    arm = max(cells, key=lambda name: len(cells[name].values))
    differences = intervals.a_a_differences(list(cells[arm].values.values()))
    if not differences:
        return None
    estimate = intervals.interval(differences)
    noticeable = estimate.sd * power.detectable_in_sds(estimate.n) if estimate.sd is not None else None
    return SelfTest(arm, estimate, noticeable)
