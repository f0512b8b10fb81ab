"""Finished models on a benchmark beside the paper's rows: terminal and Markdown, from the same grids.

Claims are tested twice: over the benchmark's rows, paired and clustered by video (are these models different?), and
over seeds, where each arm has several models (is the training different?). A table declares which of the two its
verdicts use; the other is shown beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from swimlab.evaluating.benchmarks import TrialScores
from swimlab.experiment.arms import Arm
from swimlab.experiment.claim import Claim
from swimlab.report.answer_breakdown import Answers, breakdowns
from swimlab.report.grids import Grid
from swimlab.report.markdown import md, md_grid
from swimlab.report.number_format import NO_VALUE, as_printed, p_value
from swimlab.stats.agreement import agreement, same_order
from swimlab.stats.intervals import Interval, interval, paired_differences
from swimlab.stats.row_differences import RowDifference, row_difference
from swimlab.stats.verdicts import ClaimData, judge

Test = Literal["rows", "seeds"]
ArmScores = Mapping[str, Sequence[TrialScores]]


@dataclass(frozen=True)
class BenchmarkTable:
    """What a table of the paper shows of a benchmark. `columns`: head → metric; the last is the primary one, which the
    claims are about. `released` is the same number by the released reading. `paper`: model → its printed row. `counts`:
    metrics that say what became of the answers. `test`: what the verdicts use, declared with the claims."""

    name: str
    columns: Mapping[str, str]
    released: str
    counts: Sequence[str]
    digits: int
    claims: Sequence[Claim]
    test: Test
    paper: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def primary(self) -> str:
        """The metric that the claims are about."""
        return list(self.columns.values())[-1]


def grids(table: BenchmarkTable, arms: ArmScores, judge_name: str = "") -> list[Grid]:
    """The scores beside the paper's, what became of the answers, the claims, and the scores by kinds of answers.
    `judge_name` is part of the heading: numbers of another judge are another table."""
    heading = f"{table.name}, judged by {judge_name}" if judge_name else table.name
    decided = {arm: [trial.rows for trial in trials] for arm, trials in arms.items() if not _undecided(table, trials)}
    answers = Answers(table.primary, decided, _videos(arms), table.digits)
    return [_scores(table, arms, heading), _counts(table, arms), *claim_grids([(table, arms)]), *breakdowns(answers)]


def claim_grids(tables: Sequence[tuple[BenchmarkTable, ArmScores]], mixed: bool = False) -> list[Grid]:
    """The claims of one table, or of several that are one family of tests; nothing where no claim has all its arms.
    `mixed`: the arms were not computed alike, and there is no verdict."""
    weighted = [
        (table, arms, claim, claim.oriented_weights([Arm(arm) for arm in arms], True))
        for table, arms in tables
        for claim in table.claims
    ]
    weighted = [(table, arms, claim, weights) for table, arms, claim, weights in weighted if set(weights) <= set(arms)]
    if not weighted:
        return []
    by_rows = [_over_rows(table, arms, weights) for table, arms, _, weights in weighted]
    by_seeds = [_over_seeds(table, arms, weights) for table, arms, _, weights in weighted]
    data = [
        ClaimData(
            differences=() if table.test == "rows" else seeds,
            margin=claim.margin,
            non_inferiority=claim.non_inferiority,
            direction_only=True,
            estimate=rows.estimate if table.test == "rows" and rows else None,
        )
        for (table, _, claim, _), rows, seeds in zip(weighted, by_rows, by_seeds, strict=True)
    ]
    cells = []
    for (table, _, claim, _), rows, seeds, judged in zip(
        weighted, by_rows, by_seeds, judge(data, mixed=mixed), strict=True
    ):
        cells.append(
            [
                *([table.name] if len(tables) > 1 else []),
                claim.text,
                _difference(table, rows.estimate if rows else None),
                f"{rows.rows} ({rows.unpaired} not in every arm)"
                if rows and rows.unpaired
                else str(rows.rows if rows else 0),
                str(rows.estimate.n if rows else 0),
                _difference(table, interval(seeds) if seeds else None),
                str(len(seeds)),
                p_value(judged.p_holm),
                str(judged.verdict or NO_VALUE),
                judged.reason,
            ]
        )
    heads = ["claim", "over rows", "rows", "videos", "over seeds", "seeds", "p (Holm)"]
    heads = [*(["benchmark"] if len(tables) > 1 else []), *heads, f"verdict by {tables[0][0].test}", "why"]
    metrics = ", ".join(dict.fromkeys(table.primary for table, _ in tables))
    return [(f"Claims on {metrics}", heads, cells)]


def agreement_grid(table: BenchmarkTable, first: ArmScores, second: ArmScores, names: tuple[str, str]) -> Grid:
    """Whether two judges agree on the answers of all arms, metric by metric, and on the order of the arms."""
    videos = {
        (arm, trial.trial_id, *row): video
        for arm, trials in first.items()
        for trial in trials
        for row, video in trial.videos.items()
    }
    heads = ["metric", "answers", "quadratic kappa", f"{names[1]} − {names[0]}", "Kendall's τ over models"]
    cells = []
    for name, metric in table.columns.items():
        a, b = _graded(first, metric), _graded(second, metric)
        if not set(a) & set(b):
            cells.append([name, "0", *[NO_VALUE] * 3])
            continue
        result = agreement(a, b, videos)
        order = same_order(*(_means(scores, metric) for scores in (first, second)))
        offset = result.offset
        spread = Interval(offset.clusters, offset.mean, offset.error, offset.low, offset.high)
        kappa = NO_VALUE if result.kappa is None or metric == table.primary else f"{result.kappa:.2f}"
        tau = NO_VALUE if order is None else f"{order:.2f}"
        cells.append([name, str(result.answers), kappa, _difference(table, spread), tau])
    return f"Agreement of {names[0]} and {names[1]}", heads, cells


def markdown(title: str, tables: Sequence[tuple[BenchmarkTable, Sequence[Grid]]], facts: Mapping[str, str]) -> str:
    """A page of several benchmarks."""
    lines = [f"# {md(title)}", "", *(f"- {md(name)}: {md(value)}" for name, value in facts.items()), ""]
    for table, of_table in tables:
        for heading, heads, rows in of_table:
            lines += [f"## {md(heading)}", "", *md_grid(heads, rows), ""]
        lines += [*(f"- {md(note)}" for note in table.notes), ""]
    return "\n".join(lines)


def _graded(arms: ArmScores, metric: str) -> dict[tuple[str, str, str, int], float]:
    """(arm, trial, key, turn) → grade."""
    return {
        (arm, trial.trial_id, *row): value
        for arm, trials in arms.items()
        for trial in trials
        for row, value in trial.rows.get(metric, {}).items()
    }


def _means(arms: ArmScores, metric: str) -> dict[str, float]:
    means = {arm: _mean(trials, metric) for arm, trials in arms.items()}
    return {arm: mean for arm, mean in means.items() if mean is not None}


def _scores(table: BenchmarkTable, arms: ArmScores, heading: str) -> Grid:
    heads = ["model", *table.columns, "95 % over videos", "released reading", "models"]
    rows = []
    for arm, trials in arms.items():
        cells = [_cell(table, trials, metric) for metric in table.columns.values()]
        ends = [_mean(trials, f"{table.primary}_{end}") for end in ("low", "high")] if len(trials) == 1 else []
        spread = " to ".join(as_printed(end, table.digits) for end in ends) if ends and None not in ends else NO_VALUE
        rows.append([arm, *cells, spread, as_printed(_mean(trials, table.released), table.digits), str(len(trials))])
    for model, printed in table.paper.items():
        rows.append(
            [f"{model} (paper)", *(as_printed(value, table.digits) for value in printed), NO_VALUE, NO_VALUE, NO_VALUE]
        )
    return heading, heads, rows


def _counts(table: BenchmarkTable, arms: ArmScores) -> Grid:
    heads = ["model", *(metric.rpartition(".")[2].replace("_", " ") for metric in table.counts)]
    rows = [
        [arm, *(f"{sum(trial.metrics.get(metric, 0.0) for trial in trials):.0f}" for metric in table.counts)]
        for arm, trials in arms.items()
    ]
    return f"Answers on {table.name}", heads, rows


def _over_rows(table: BenchmarkTable, arms: ArmScores, weights: Mapping[str, float]) -> RowDifference | None:
    """None where an arm is undecided: the rows that it has are not a sample of all."""
    if any(table.primary not in trial.metrics for arm in weights for trial in arms[arm]):
        return None
    values = {arm: [trial.rows[table.primary] for trial in arms[arm]] for arm in weights}
    return row_difference(weights, values, _videos(arms))


def _over_seeds(table: BenchmarkTable, arms: ArmScores, weights: Mapping[str, float]) -> tuple[float, ...]:
    values = {
        arm: {
            trial.seed: trial.metrics[table.primary]
            for trial in arms[arm]
            if trial.seed is not None and table.primary in trial.metrics
        }
        for arm in weights
    }
    trials = {arm: {t.seed: t.trial_id for t in arms[arm] if t.seed is not None} for arm in weights}
    return tuple(paired_differences(weights, values, trials).values())


def _cell(table: BenchmarkTable, trials: Sequence[TrialScores], metric: str) -> str:
    return "UNDECIDED" if _undecided(table, trials) else as_printed(_mean(trials, metric), table.digits)


def _undecided(table: BenchmarkTable, trials: Sequence[TrialScores]) -> bool:
    family = table.primary.partition(".")[0]
    return any(trial.metrics.get(f"{family}.undecided") for trial in trials)


def _videos(arms: ArmScores) -> dict[tuple[str, int], str]:
    return {row: video for trials in arms.values() for trial in trials for row, video in trial.videos.items()}


def _mean(trials: Sequence[TrialScores], metric: str) -> float | None:
    values = [trial.metrics[metric] for trial in trials if metric in trial.metrics]
    return sum(values) / len(values) if values and len(values) == len(trials) else None


def _difference(table: BenchmarkTable, estimate: Interval | None) -> str:
    if estimate is None:
        return NO_VALUE
    mean = f"{estimate.mean:+.{table.digits}f}".replace("-", "−")
    if estimate.low is None or estimate.high is None:
        return mean
    return f"{mean} [{as_printed(estimate.low, table.digits)}, {as_printed(estimate.high, table.digits)}]"
