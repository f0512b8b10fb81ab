"""Summaries of pages, stored as a small JSON file beside each, so that the index page reads no trial record."""

from __future__ import annotations

from pydantic import FiniteFloat

from swim.recipe import Frozen
from swim.worlds import Replicate
from swimlab.experiment.results import Results
from swimlab.report.evidence import EvidenceIndex
from swimlab.report.table import Table

SCHEMA_VERSION = 1


class ClaimSummary(Frozen):
    """A judged claim; `evidence` is the id of its difference, "" without one; `not_mediated` qualifies its verdict
    (`swimlab.experiment.mediation`)."""

    text: str
    verdict: str
    direction_only: bool
    difference: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    p_holm: FiniteFloat | None
    seeds: int
    evidence: str
    not_mediated: bool = False


class ArmSummary(Frozen):
    """An arm's primary metric: mean over seeds and its 95 % interval."""

    name: str
    same_as: str | None
    paper: FiniteFloat | None
    mean: FiniteFloat | None
    low: FiniteFloat | None
    high: FiniteFloat | None
    seeds: int
    evidence: str


class PageSummary(Frozen):
    """The summary of a page other than a table, for example a search; `findings` are sentences."""

    schema_version: int = SCHEMA_VERSION
    title: str
    question: str
    findings: tuple[str, ...]


class TableSummary(Frozen):
    """The summary of one table under one recipe. `done`: trial id → seconds of wall-clock; times are UTC, ISO 8601;
    `replication`: what its seeds are, in a sentence, empty where an older swimlab wrote it, whose seeds were orders;
    `families`: metric → the claims about it that were tested, over which Holm's correction was made."""

    schema_version: int = SCHEMA_VERSION
    name: str
    title: str
    question: str
    recipe: str
    comparable: bool
    mixed: bool
    metric: str
    standin: bool
    reference: str | None
    claims: tuple[ClaimSummary, ...]
    arms: tuple[ArmSummary, ...]
    seeds: tuple[int, ...]
    planned: int
    done: dict[str, FiniteFloat]
    protocol: str
    amended: bool
    last_finished: str
    replicate: Replicate = "order"
    replication: str = ""
    families: dict[str, int] | None = None

    @property
    def tested(self) -> dict[str, int]:
        """Metric → the number of claims about it that were tested, where there are any."""
        if self.families is None:  # of an older swimlab: all its claims are about one metric
            tested = sum(claim.p_holm is not None for claim in self.claims)
            return {self.metric: tested} if tested else {}
        return {metric: count for metric, count in self.families.items() if count}


def table_summary(results: Results, table: Table, citations: EvidenceIndex) -> TableSummary:
    """Summarises a table for the index page; `citations` is its evidence index."""
    primary = table.columns[table.primary]
    claims, arms = [], []
    for i, claim in enumerate(table.claims):
        interval, evidence = claim.outcome.interval, claim.outcome.evidence
        claims.append(
            ClaimSummary(
                text=claim.title,
                verdict=claim.label,
                direction_only=evidence.direction_only,
                not_mediated=claim.not_mediated,
                difference=interval.mean if interval else None,
                low=interval.low if interval else None,
                high=interval.high if interval else None,
                p_holm=claim.outcome.p_holm,
                seeds=len(claim.seeds),
                evidence=citations.id("claim", i),
            )
        )
    for i, row in enumerate(table.rows):
        cell = row.cells[table.primary]
        arms.append(
            ArmSummary(
                name=row.arm,
                same_as=row.same_as,
                paper=row.paper,
                mean=cell.interval.mean if cell.interval else None,
                low=cell.interval.low if cell.interval else None,
                high=cell.interval.high if cell.interval else None,
                seeds=len(cell.values),
                evidence=citations.id("cell", i, table.primary),
            )
        )
    return TableSummary(
        name=table.name,
        title=table.title,
        question=table.question,
        recipe=table.recipe_name,
        comparable=table.comparable,
        mixed=table.mixed,
        metric=primary.measured,
        standin=primary.standin,
        reference=table.reference,
        claims=tuple(claims),
        arms=tuple(arms),
        seeds=table.seeds,
        planned=table.trials_planned,
        done={trial.trial_id: trial.wall_s for trial in table.trials if trial.state == "done"},
        protocol=table.protocol.text if table.protocol else "",
        amended=bool(table.protocol and table.protocol.amended),
        families={metric: table.tested(metric) for metric in table.families},
        last_finished=max((t.record.provenance.finished_at for t in results.trials if t.record), default=""),
        replicate=table.replicate,
        replication=table.replication,
    )
