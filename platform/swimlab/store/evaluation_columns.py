"""Joins the tables of trials and of evaluations."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from swimlab.identity.splits import measured_on
from swimlab.store.flat_rows import TRIAL_LEADING, metric_columns, ordered

# Before the name of a suite. Not "evaluation.", below which the recipes of older records have fields.
PREFIX = "evaluated."


def suite_columns(leaderboard: pa.Table) -> list[str]:
    """The columns of a leaderboard that hold ids of evaluations, one a suite."""
    return [name for name in leaderboard.column_names if name.startswith(PREFIX)]


def fitting(trials: pa.Table, evaluations: pa.Table) -> pa.Table:
    """The evaluations of the weights that their trial has now."""
    nonces = trials["nonce"].take(_matches(evaluations["trial_id"], trials["trial_id"]))
    return evaluations.filter(pc.equal(nonces, evaluations["trial_nonce"]))


def with_evaluations(trials: pa.Table, evaluations: pa.Table) -> pa.Table:
    """The trials with the metrics of their newest fitting evaluation of each suite, whose id is in the column
    `evaluated.<suite>`; of one on the clips that choose in `evaluated.validation.<suite>`, and its metrics are
    `validation.<metric>`. Newest by the time at which it finished. A trial's own metric of the same name, which records
    of version 1 have, is kept where no evaluation measured it."""
    evaluations = fitting(trials, evaluations)
    order = [(name, "descending") for name in ("finished_at", "evaluation_id")]
    columns = {name: trials[name] for name in trials.column_names}
    kinds = {*zip(evaluations["suite"].to_pylist(), evaluations["split"].to_pylist(), strict=True)}
    for suite, split in sorted(kinds):
        of_kind = pc.and_(pc.equal(evaluations["suite"], suite), pc.equal(evaluations["split"], split))
        newest_first = evaluations.filter(of_kind).sort_by(order)
        rows = newest_first.take(_matches(trials["trial_id"], newest_first["trial_id"]))
        columns[f"{PREFIX}{measured_on(suite, split)}"] = rows["evaluation_id"]
        for measured in metric_columns(evaluations):
            if rows[measured].null_count == len(rows):  # a metric of another suite
                continue
            name = measured_on(measured, split)
            others = columns.get(name)
            # A column without any value is text.
            empty = others is None or others.null_count == len(others)
            columns[name] = rows[measured] if empty else pc.coalesce(rows[measured], columns[name].cast(pa.float64()))
    return ordered(pa.table(columns), TRIAL_LEADING)


def _matches(names: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.ChunkedArray:
    """For each name its first index among others, null without one. Arrow's own functions throughout: `pa.array`
    and `group_by` import pandas, which takes 0.3 s of CPU."""
    return pc.index_in(names, value_set=among.combine_chunks())
