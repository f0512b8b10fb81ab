"""The claims of a table over the rows of its stored samples, beside the test over replicates.

Over replicates a claim is about a way of training. Over rows it is about the models that were trained, on clips like
those that were scored: paired row by row, clustered by video, each arm's models averaged
(`swimlab.stats.row_differences`). The ablation declares which of the two its verdicts use.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from swim.data.types import DataError
from swim.recipe import NLReferFiles
from swimlab.evaluating.annotated import annotated
from swimlab.evaluating.parts import StoredGeneration
from swimlab.experiment.results import Results
from swimlab.report.grids import Grid
from swimlab.report.number_format import NO_VALUE, mean_ci
from swimlab.report.table import ClaimRow, OverRows, Table
from swimlab.stats.intervals import Interval
from swimlab.stats.row_differences import row_difference
from swimlab.stats.verdicts import judge_families
from swimlab.store.arrow_tables import from_parquet
from swimlab.store.evaluation_records import EvaluationRecord, TrialResult
from swimlab.store.sweep_store import SweepStore

SAMPLES = "samples.parquet"
NOTE = (
    "Over replicates: is this way of training better? Over rows: do these trained models differ on clips like these? "
    "Rows are paired, those of a video are not independent; an interval over rows says nothing about training again."
)
_AT_A_TIME = 250  # evaluations whose rows are in memory together

Row = tuple[Hashable, ...]
"""(data, key, turn, tag, metric)"""


def beside(results: Results, claims: Sequence[ClaimRow]) -> tuple[ClaimRow, ...]:
    """The claims with their test over rows, judged by it where the ablation says so; those about each metric are a
    family. Raises StoreError for a stored file that is missing or not what was committed."""
    shown: dict[int, ClaimRow] = {}
    for metric in dict.fromkeys(claim.metric for claim in claims):
        family = {i: claim for i, claim in enumerate(claims) if claim.metric == metric}
        tested = {i for i, c in family.items() if c.outcome.verdict and not c.outcome.evidence.same_trials}
        rows = _ArmRows(results, metric, {arm for i in tested for arm in family[i].weights})
        shown |= {i: replace(claim, over_rows=rows.test(claim) if i in tested else None) for i, claim in family.items()}
    with_rows = tuple(shown[i] for i in range(len(claims)))
    return _judged(with_rows, results.ablation.alpha) if results.ablation.verdicts == "rows" else with_rows


def grid(table: Table) -> Grid | None:
    """Both tests of each claim; None where no rows are stored."""
    tested = [(claim, claim.over_rows) for claim in table.claims if claim.over_rows]
    if not any(over.difference for _, over in tested):
        return None
    heads = ["claim", "over replicates", "replicates", "over rows", "rows", "videos", ""]
    cells = []
    for claim, over in tested:
        rows = over.difference
        unpaired = f" ({rows.unpaired} not in every arm)" if rows and rows.unpaired else ""
        cells.append(
            [
                claim.title,
                mean_ci(over.replicates, signed=True),
                str(len(claim.seeds)),
                mean_ci(rows.estimate, signed=True) if rows else NO_VALUE,
                f"{rows.rows}{unpaired}" if rows else NO_VALUE,
                str(rows.estimate.n) if rows else NO_VALUE,
                over.problem,
            ]
        )
    return f"Claims over replicates and over rows; verdicts are by {table.verdicts}", heads, cells


def _judged(claims: Sequence[ClaimRow], alpha: float) -> tuple[ClaimRow, ...]:
    data = [
        replace(
            claim.outcome.evidence,
            differences=(),
            estimate=claim.over_rows.difference.estimate if claim.over_rows and claim.over_rows.difference else None,
        )
        for claim in claims
    ]
    judged = []
    for claim, outcome in zip(claims, judge_families(data, [c.metric for c in claims], alpha=alpha), strict=True):
        problem = claim.over_rows.problem if claim.over_rows else ""
        judged.append(replace(claim, outcome=replace(outcome, reason=problem or outcome.reason)))
    return tuple(judged)


class _ArmRows:
    """The rows of the arms on one metric: for each trial those whose mean is the trial's metric."""

    def __init__(self, results: Results, metric: str, arms: set[str]) -> None:
        self._store, self._metric = results.store, metric
        self._videos: dict[str, Mapping[str, str] | str | None] = {}
        records = {(t.arm, t.trial_id): t.record for t in results.trials if t.record and t.arm in arms}
        sources = {key: source for key, record in records.items() if (source := _source(record, metric))}
        unique = {source.evaluation_id: source for source in sources.values()}
        tables = _samples(self._store, list(unique.values()), metric)
        # data → arm → rows of each trial
        self._rows: dict[str, dict[str, list[dict[Row, float]]]] = defaultdict(lambda: defaultdict(list))
        self._problems: dict[str, str] = {}
        for (arm, trial_id), record in records.items():
            source = sources.get((arm, trial_id))
            rows = tables.get(source.evaluation_id) if source else None
            if source is None or not rows:
                self._problems[arm] = f"no rows of {metric} are stored of {arm}"
            elif not math.isclose(math.fsum(rows.values()) / len(rows), record.metrics[metric], rel_tol=1e-6):
                self._problems[arm] = f"{metric} is not the mean of its stored rows"
            else:
                self._rows[source.data_fingerprint][arm].append(rows)
                self._name_videos(source, record)

    def test(self, claim: ClaimRow) -> OverRows:
        """The difference of a claim over rows."""
        replicates = claim.outcome.interval
        if problem := next((self._problems[arm] for arm in claim.weights if arm in self._problems), ""):
            return OverRows(None, replicates, problem)
        values: dict[str, dict[Row, float]] = {arm: {} for arm in claim.weights}
        clusters: dict[Row, Hashable] = {}
        for data, of_arms in self._rows.items():
            videos = self._videos[data]
            if isinstance(videos, str):
                return OverRows(None, replicates, videos)
            means = {arm: _mean(of_arms[arm]) for arm in claim.weights}
            keys = {str(row[0]) for rows in means.values() for row in rows}
            if videos is not None and (gone := keys - set(videos)):
                return OverRows(None, replicates, f"{len(gone)} scored rows are no longer in the annotation files")
            for arm, rows in means.items():
                for row, value in rows.items():
                    key = str(row[0])
                    values[arm][data, *row] = value
                    clusters[data, *row] = (data, key if videos is None else videos[key])
        difference = row_difference(claim.weights, {arm: [rows] for arm, rows in values.items()}, clusters)
        if difference is None:
            return OverRows(None, replicates, "its arms have no row in common")
        return OverRows(replace(difference, estimate=_minus(difference.estimate, claim.above)), replicates)

    def _name_videos(self, source: EvaluationRecord, record: TrialResult) -> None:
        if source.data_fingerprint not in self._videos:
            try:
                self._videos[source.data_fingerprint] = _videos(self._store, source, record)
            except (OSError, DataError, ValueError) as error:
                self._videos[source.data_fingerprint] = f"which rows share a video cannot be read: {error}"


def _source(record: TrialResult, metric: str) -> EvaluationRecord | None:
    """The evaluation that measured a trial's metric on the reported clips, where it stored rows."""
    sources = [e for e in record.evaluations if e.split == "held_out" and metric in e.metrics]
    return sources[-1] if sources and SAMPLES in sources[-1].files else None


def _samples(store: SweepStore, sources: Sequence[EvaluationRecord], metric: str) -> dict[str, dict[Row, float]]:
    """Evaluation id → (key, turn, tag, metric) → value, of the rows of a metric, or of those below it
    (`answer.accuracy` is the mean over `answer.accuracy.size` and others)."""
    rows: dict[str, dict[Row, float]] = {}
    for start in range(0, len(sources), _AT_A_TIME):
        batch = sources[start : start + _AT_A_TIME]
        for source, data in zip(batch, store.files_of(batch, SAMPLES), strict=True):
            table = from_parquet(data)
            own = table.filter(pc.equal(table["metric"], metric))
            below = own if own.num_rows else table.filter(pc.starts_with(table["metric"], f"{metric}."))
            rows[source.evaluation_id] = _by_row(below)
    return rows


def _by_row(table: pa.Table) -> dict[Row, float]:
    names = ("key", "turn", "tag", "metric")
    return dict(
        zip(zip(*(table[name].to_pylist() for name in names), strict=True), table["value"].to_pylist(), strict=True)
    )


def _mean(trials: Sequence[Mapping[Row, float]]) -> dict[Row, float]:
    """Row → mean over trials, of the rows that all of them have."""
    if not trials:
        return {}
    common = set(trials[0]).intersection(*trials[1:])
    return {row: math.fsum(trial[row] for trial in trials) / len(trials) for row in common}


def _minus(estimate: Interval, above: float) -> Interval:
    if estimate.low is None or estimate.high is None:
        return replace(estimate, mean=estimate.mean - above)
    return replace(estimate, mean=estimate.mean - above, low=estimate.low - above, high=estimate.high - above)


def _videos(store: SweepStore, source: EvaluationRecord, record: TrialResult) -> Mapping[str, str] | None:
    """Key → video. None for embedded data, each of whose clips is a video of its own."""
    if generation_id := source.config.get("generation"):
        data = StoredGeneration.load(store, generation_id).plan.generation.data
    elif (stated := record.recipe.get("data", {})).get("kind") == "nl_refer":
        scored = NLReferFiles.model_validate(stated)
        data = scored.model_copy(update={"annotations": scored.held_out_annotations or scored.annotations})
    else:
        return None
    return {key: sample.video for key, sample in annotated(data).items()}
