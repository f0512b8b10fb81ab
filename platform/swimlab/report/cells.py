"""Texts of cells that all renderings of a table share."""

from __future__ import annotations

from swimlab.report.number_format import mean_ci, p_value, seeds_needed
from swimlab.report.table import ClaimRow, Column, Row, Table


def column_title(column: Column) -> str:
    """The name of the measured metric, and of the metric it stands in for."""
    return f"{column.measured} (stands in for {column.name})" if column.standin else column.measured


def arm_name(row: Row) -> str:
    """The arm's name, and of an arm above that has the same trials."""
    return f"{row.arm} = {row.same_as}" if row.same_as else row.arm


def seeds_done(table: Table, row: Row) -> str:
    """Seeds with a value of the primary metric, of those planned: `2/3`."""
    return f"{len(row.cells[table.primary].values)}/{len(row.trials)}"


def verdict_text(claim: ClaimRow) -> str:
    """The verdict in words, with a note where only its direction was compared."""
    only = claim.outcome.verdict is not None and claim.outcome.evidence.direction_only and claim.outcome.interval
    return claim.label.replace("_", " ") + (" (direction only)" if only else "")


def _cited(shown: str, evidence_id: str) -> str:
    return f"{shown} §{evidence_id}" if evidence_id else shown


def _claim_cells(claim: ClaimRow, evidence_id: str = "") -> list[str]:
    outcome = claim.outcome
    return [
        claim.text,
        _cited(mean_ci(outcome.interval, signed=True), evidence_id),
        p_value(outcome.p_holm),
        verdict_text(claim),
        seeds_needed(outcome),
        outcome.reason,
    ]
