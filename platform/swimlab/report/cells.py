"""Texts of cells that all renderings of a table share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swimlab.experiment.mediation import NOT_MEDIATED
from swimlab.report.number_format import duration, mean_ci, p_value, seeds_needed, throughput
from swimlab.report.table import ArmRow, ClaimRow, Column, Table


def column_title(column: Column) -> str:
    """The name of the measured metric, and of the metric it stands in for."""
    return f"{column.measured} (stands in for {column.name})" if column.standin else column.measured


def arm_name(row: ArmRow) -> str:
    """The arm's name, and of an arm above that has the same trials."""
    return f"{row.arm} = {row.same_as}" if row.same_as else row.arm


def seeds_done(table: Table, row: ArmRow) -> str:
    """Seeds with a value of the primary metric, of those planned: `2/3`."""
    return f"{len(row.cells[table.primary].values)}/{len(row.trials)}"


@dataclass(frozen=True)
class TrailingColumn:
    """A column of text at the end of every rendering of the arms. `evidence`: the kind of evidence that the number
    cites (`swimlab.report.evidence`), "" without."""

    head: str
    text: Callable[[Table, ArmRow], str]
    evidence: str = ""


TRAILING_COLUMNS = (
    TrailingColumn("seeds", seeds_done),
    TrailingColumn("cost", lambda table, row: duration(row.wall_s), "cost"),
    TrailingColumn("tokens/s", lambda table, row: throughput(row.tokens_per_s, row.mfu, unit="")),
)


def verdict_text(claim: ClaimRow) -> str:
    """The verdict in words, with what qualifies it."""
    return qualified(claim.label, qualifiers(claim))


def qualifiers(claim: ClaimRow) -> list[str]:
    """What stands beside a verdict: that only its direction was compared, and that the answers it is about do not pass
    through the supervised rows."""
    outcome = claim.outcome
    if outcome.verdict is None or outcome.interval is None:
        return []
    return notes(outcome.evidence.direction_only, claim.not_mediated)


def notes(direction_only: bool, not_mediated: bool) -> list[str]:
    """`qualifiers` of a verdict that was given."""
    return (["direction only"] if direction_only else []) + ([NOT_MEDIATED.replace("_", " ")] if not_mediated else [])


def qualified(verdict: str, qualifiers: Sequence[str]) -> str:
    """A verdict in words with its qualifiers behind it."""
    return verdict.replace("_", " ") + (f" ({', '.join(qualifiers)})" if qualifiers else "")


def own_reading(claim: ClaimRow, evidence_id: str = "") -> str:
    """The same difference by the arms' own reading; "" where there is none."""
    if claim.own is None:
        return ""
    return f"by the arms' own reading {_cited(mean_ci(claim.own.interval, signed=True), evidence_id)}"


def claim_reason(claim: ClaimRow) -> str:
    """Why the verdict is what it is, where its margin is from, and what answers owe to the supervised rows."""
    mediations = [
        f"{m.metric} of {m.arm} is {mean_ci(m.interval, signed=True)}, "
        + (f"below the margin {m.margin:g}" if m.absent else f"not shown to lie below the margin {m.margin:g}")
        for m in claim.mediation
    ]
    source = [f"margin {claim.margin:g}: {claim.margin_source}"] if claim.margin_source else []
    return "; ".join([claim.outcome.reason, *source, *mediations])


def _cited(shown: str, evidence_id: str) -> str:
    return f"{shown} §{evidence_id}" if evidence_id else shown


def _claim_cells(claim: ClaimRow, evidence_id: str = "", own_evidence_id: str = "") -> list[str]:
    outcome = claim.outcome
    return [
        claim.title,
        _cited(mean_ci(outcome.interval, signed=True), evidence_id),
        p_value(outcome.p_holm),
        verdict_text(claim),
        seeds_needed(outcome),
        "; ".join(filter(None, [claim_reason(claim), own_reading(claim, own_evidence_id)])),
    ]
