"""The evidence of each number in a table: its trials, the SQL that computes it again, and an id to cite it by.

An id is a hash over trial ids, metric and statistic, so that a number has the same id in every rendering, table and
store, and a different number has a different id.
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from swimlab.base import quoting
from swimlab.base.printable import one_line
from swimlab.report.number_format import duration, mean_ci
from swimlab.report.table import SelfTest, Table
from swimlab.stats import intervals
from swimlab.stats.pairing import Origin

ID_DIGITS = 8
COST = "cost.wall_s"

Statistic = Literal["mean", "difference", "sum"]
Key = tuple[str, int, int]
"""("cell", row, column) | ("reference" | "cost", row, 0) | ("claim" | "own", claim, 0) | ("self-test", 0, 0)"""

MEANING: Mapping[Statistic, str] = {
    "mean": "mean over seeds, half-width of its 95 % Student-t interval",
    "difference": "mean over seeds of the weighted sum of arms, half-width of its 95 % Student-t interval",
    "sum": "sum over trials",
}


@dataclass(frozen=True)
class Contribution:
    """One trial's part of a number: within a `replicate` (a seed, or a pair of seeds) values are summed by weight."""

    arm: str
    seed: int
    trial_id: str
    value: float
    weight: float = 1.0
    replicate: int = 0


@dataclass(frozen=True)
class CitedNumber:
    """A number as printed (`shown`), and its parts; `above` is subtracted from each replicate. `label` and `shown` are
    not part of the id."""

    label: str
    metric: str
    statistic: Statistic
    shown: str
    parts: tuple[Contribution, ...]
    above: float = 0.0

    @property
    def id(self) -> str:
        """Eight hex digits, the same on every machine."""
        parts = sorted([p.replicate, p.weight, p.trial_id] for p in self.parts)
        content = json.dumps([self.statistic, self.metric, self.above, parts], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:ID_DIGITS]

    @property
    def meaning(self) -> str:
        """The statistic in words."""
        return MEANING[self.statistic]

    @property
    def trial_ids(self) -> tuple[str, ...]:
        """The trials of the number in order, each once."""
        return tuple(dict.fromkeys(part.trial_id for part in self.parts))

    def query(self, store_uri: str) -> str:
        """DuckDB SQL over the store's tables; its one row is this number. `how_to_run` is the code around it."""
        name = quoting.sql_name(self.metric)
        files = quoting.sql_text(f"{glob.escape(store_uri)}/tables/trials/*.parquet")
        trials = f"read_parquet({files}, union_by_name = true)"
        n = len({part.replicate for part in self.parts})
        lines = [f"-- {self.id}: {one_line(self.label)}; {self.meaning}"]
        if self.statistic == "difference":
            less = f" - {self.above!r}" if self.above else ""
            rows = [f"({p.replicate}, {p.weight!r}, {quoting.sql_text(p.trial_id)})" for p in self.parts]
            lines += [
                f"with part(replicate, weight, trial_id) as (values\n    {_stacked(rows)}\n), difference as (",
                f"    select sum(weight::double * {name}){less} as value",
                f"    from part join {trials} using (trial_id)",
                "    group by replicate",
                f")\nselect {_interval('value', n)}\nfrom difference;",
            ]
        else:
            aggregate = f"sum({name}) as total" if self.statistic == "sum" else _interval(name, n)
            ids = _stacked(quoting.sql_text(trial_id) for trial_id in self.trial_ids)
            lines += [f"select {aggregate}", f"from {trials}", f"where trial_id in (\n    {ids}\n);"]
        return "\n".join(lines)

    def replay_commands(self, store_uri: str) -> list[str]:
        """One shell line a trial, which runs it again and compares."""
        return [f"swimlab replay {trial_id} --store {quoting.shell(store_uri)}" for trial_id in self.trial_ids]


@dataclass(frozen=True)
class EvidenceIndex:
    """The numbers of a table by their place in it; places without a value are absent."""

    numbers: Mapping[Key, CitedNumber] = field(default_factory=dict)

    def get(self, kind: str, index: int = 0, column: int = 0) -> CitedNumber | None:
        """The number at a place (see `Key`); None where no number is printed."""
        return self.numbers.get((kind, index, column))

    def id(self, kind: str, index: int = 0, column: int = 0) -> str:
        """The id of the number at a place; "" where no number is printed."""
        number = self.get(kind, index, column)
        return number.id if number else ""

    def __iter__(self) -> Iterator[CitedNumber]:
        """The numbers in the order of the table, each id once; its label names every place where it is printed."""
        labels: dict[str, list[str]] = {}
        for number in self.numbers.values():
            labels.setdefault(number.id, []).append(number.label)
        first = {number.id: number for number in reversed(list(self.numbers.values()))}
        for name, several in labels.items():
            yield replace(first[name], label=" = ".join(dict.fromkeys(several)))


def evidence_index(table: Table) -> EvidenceIndex:
    """The index of every number in the table that is computed from trials."""
    numbers: dict[Key, CitedNumber] = {}
    trials = _Trials(table)
    for i, row in enumerate(table.rows):
        for j, column in enumerate(table.columns):
            if (interval := row.cells[j].interval) is not None:
                parts = trials.parts({row.arm: 1.0}, row.cells[j].values, column.measured)
                label = f"{row.arm}, {column.measured}"
                numbers["cell", i, j] = CitedNumber(label, column.measured, "mean", mean_ci(interval), parts)
        if row.over_reference is not None and table.reference is not None:
            weights = {row.arm: 1.0, table.reference: -1.0}
            parts = trials.parts(weights, trials.seeds(weights), trials.primary)
            label = f"{row.arm} − {table.reference}, {trials.primary}"
            shown = mean_ci(row.over_reference, signed=True)
            numbers["reference", i, 0] = CitedNumber(label, trials.primary, "difference", shown, parts)
        if done := [t for t in row.trials if t.state == "done"]:
            costs = tuple(Contribution(t.arm, t.seed, t.trial_id, t.wall_s) for t in done)
            numbers["cost", i, 0] = CitedNumber(f"{row.arm}, wall-clock", COST, "sum", duration(row.wall_s), costs)
    for i, claim in enumerate(table.claims):
        # A number over rows has no query over trials.
        if claim.outcome.interval is not None and claim.outcome.evidence.estimate is None:
            parts = trials.parts(claim.weights, claim.seeds, claim.metric)
            shown = mean_ci(claim.outcome.interval, signed=True)
            label = f"{claim.text}, {claim.metric}"
            numbers["claim", i, 0] = CitedNumber(label, claim.metric, "difference", shown, parts, claim.above)
        if (own := claim.own) is not None:
            parts = trials.parts(claim.weights, own.seeds, own.metric)
            shown, label = mean_ci(own.interval, signed=True), f"{claim.text}, {own.metric}"
            numbers["own", i, 0] = CitedNumber(label, own.metric, "difference", shown, parts, claim.above)
    if table.self_test is not None:
        shown = mean_ci(table.self_test.interval, signed=True)
        parts = trials.self_test(table.self_test)
        label = f"A/A {table.self_test.arm}, {trials.primary}"
        numbers["self-test", 0, 0] = CitedNumber(label, trials.primary, "difference", shown, parts)
    return EvidenceIndex(numbers)


def how_to_run(store_uri: str) -> str:
    """Python code that runs a query of a page, the same for every query.

    The query is read from a file: labels in it may hold quotes, and none of them ends a string of this code.
    """
    run = 'sql(open("query.sql").read()).show()  # query.sql: a query from this page'
    if store_uri.startswith("s3://"):
        return (
            "import duckdb, fsspec\n\n"
            "# Credentials and AWS_ENDPOINT_URL are read from the environment, as by every AWS tool.\n"
            f'duck = duckdb.connect()\nduck.register_filesystem(fsspec.filesystem("s3"))\nduck.{run}'
        )
    return f"import duckdb\n\nduckdb.{run}\n# or: duckdb < query.sql"


class _Trials:
    """The table's trials by arm and seed."""

    def __init__(self, table: Table) -> None:
        self.primary = table.columns[table.primary].measured
        self.lines = {(line.arm, line.seed): line for line in table.trials}
        self.rows = {row.arm: row.cells[table.primary] for row in table.rows}

    def parts(self, weights: Mapping[str, float], seeds: Iterable[int], metric: str) -> tuple[Contribution, ...]:
        return tuple(self._part(arm, seed, metric, weight, seed) for seed in seeds for arm, weight in weights.items())

    def seeds(self, weights: Mapping[str, float]) -> list[int]:
        """Replicates of a contrast on the primary metric, as `intervals.paired_differences` selects them."""
        lines = [line for line in self.lines.values() if line.arm in weights]
        scores: dict[str, dict[int, float]] = {arm: {} for arm in weights}
        ids: dict[str, dict[int, str]] = {arm: {} for arm in weights}
        origins: dict[str, dict[int, Origin]] = {arm: {} for arm in weights}
        for line in lines:
            ids[line.arm][line.seed] = line.trial_id
            if line.origin:
                origins[line.arm][line.seed] = line.origin
            if self.primary in line.values:
                scores[line.arm][line.seed] = line.values[self.primary]
        return list(intervals.paired_differences(weights, scores, ids, origins=origins))

    def self_test(self, test: SelfTest) -> tuple[Contribution, ...]:
        seeds = list(self.rows[test.arm].values)
        return tuple(
            self._part(test.arm, seeds[index], self.primary, weight, replicate)
            for replicate, pair in enumerate(intervals.a_a_pairs(len(seeds)))
            for index, weight in zip(pair, (1.0, -1.0), strict=True)
        )

    def _part(self, arm: str, seed: int, metric: str, weight: float, replicate: int) -> Contribution:
        line = self.lines[arm, seed]
        return Contribution(arm, seed, line.trial_id, line.values[metric], weight, replicate)


def _interval(value: str, n: int) -> str:
    half = f"{intervals.critical(n)!r} * stddev_samp({value}) / sqrt(count(*))" if n > 1 else "null"
    return f"count(*) as n, avg({value}) as mean, {half} as half_width"


def _stacked(items: Iterable[str]) -> str:
    return ",\n    ".join(items)
