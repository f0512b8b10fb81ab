"""What each number of a table rests on: its trials, the SQL that computes it again, and an id to quote it by.

An id is a hash over trial ids, metric and statistic, so the same number has the same id in every rendering, table and
store, and another number never has it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from swimlab.report.number_format import duration, mean_ci
from swimlab.report.table import SelfTest, Table
from swimlab.stats import intervals
from swimlab.stats.pairing import Origin

ID_DIGITS = 8
COST = "cost.wall_s"

Statistic = Literal["mean", "difference", "sum"]
Key = tuple[str, int, int]
"""("cell", row, column) | ("reference" | "cost", row, 0) | ("claim", claim, 0) | ("self-test", 0, 0)"""

MEANING: Mapping[Statistic, str] = {
    "mean": "mean over seeds, half-width of its 95 % Student-t interval",
    "difference": "mean over seeds of the weighted sum of arms, half-width of its 95 % Student-t interval",
    "sum": "sum over trials",
}


@dataclass(frozen=True)
class Contribution:
    """One trial's share in a number; parts of one `replicate` (a seed, or a pair of seeds) are added up by weight."""

    arm: str
    seed: int
    trial_id: str
    value: float
    weight: float = 1.0
    replicate: int = 0


@dataclass(frozen=True)
class CitedNumber:
    """A number as shown, and its parts; `above` is taken off each replicate. `label` and `shown` are not in the id."""

    label: str
    metric: str
    statistic: Statistic
    shown: str
    parts: tuple[Contribution, ...]
    above: float = 0.0

    @property
    def id(self) -> str:
        """Stable and short: eight hex digits."""
        parts = sorted([p.replicate, p.weight, p.trial_id] for p in self.parts)
        content = json.dumps([self.statistic, self.metric, self.above, parts], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:ID_DIGITS]

    @property
    def meaning(self) -> str:
        """The statistic in words."""
        return MEANING[self.statistic]

    @property
    def trial_ids(self) -> tuple[str, ...]:
        """Each once, in order."""
        return tuple(dict.fromkeys(part.trial_id for part in self.parts))

    def query(self, store_uri: str) -> str:
        """DuckDB's SQL over the store's tables: one row, which is this number. See `how_to_run` for s3://."""
        name = '"' + self.metric.replace('"', '""') + '"'
        files = _literal(f"{glob.escape(store_uri)}/tables/trials/*.parquet")
        trials = f"read_parquet({files}, union_by_name = true)"
        n = len({part.replicate for part in self.parts})
        lines = [f"-- {self.id}: {' '.join(self.label.split())}; {self.meaning}"]
        if self.statistic == "difference":
            less = f" - {self.above!r}" if self.above else ""
            rows = [f"({p.replicate}, {p.weight!r}, {_literal(p.trial_id)})" for p in self.parts]
            lines += [
                f"with part(replicate, weight, trial_id) as (values\n    {_stacked(rows)}\n), difference as (",
                f"    select sum(weight::double * {name}){less} as value",
                f"    from part join {trials} using (trial_id)",
                "    group by replicate",
                f")\nselect {_interval('value', n)}\nfrom difference;",
            ]
        else:
            chosen = f"sum({name}) as total" if self.statistic == "sum" else _interval(name, n)
            ids = _stacked(_literal(trial_id) for trial_id in self.trial_ids)
            lines += [f"select {chosen}", f"from {trials}", f"where trial_id in (\n    {ids}\n);"]
        return "\n".join(lines)

    def replays(self, store_uri: str) -> list[str]:
        """The shell line that runs each trial again and compares."""
        return [f"swimlab replay {trial_id} --store {shlex.quote(store_uri)}" for trial_id in self.trial_ids]


@dataclass(frozen=True)
class EvidenceIndex:
    """The numbers of a table by where they stand; a place without a value has none."""

    numbers: Mapping[Key, CitedNumber] = field(default_factory=dict)

    def get(self, kind: str, index: int = 0, column: int = 0) -> CitedNumber | None:
        """The number shown there, if one is."""
        return self.numbers.get((kind, index, column))

    def id(self, kind: str, index: int = 0, column: int = 0) -> str:
        """Its id, or "" where no number is shown."""
        number = self.get(kind, index, column)
        return number.id if number else ""

    def __iter__(self) -> Iterator[CitedNumber]:
        """Each id once, in the order of the table; what is shown in several places names them all."""
        labels: dict[str, list[str]] = {}
        for number in self.numbers.values():
            labels.setdefault(number.id, []).append(number.label)
        first = {number.id: number for number in reversed(list(self.numbers.values()))}
        for name, several in labels.items():
            yield replace(first[name], label=" = ".join(dict.fromkeys(several)))


def ledger(table: Table) -> EvidenceIndex:
    """Every number of the table that comes from trials."""
    found: dict[Key, CitedNumber] = {}
    trials = _Trials(table)
    for i, row in enumerate(table.rows):
        for j, column in enumerate(table.columns):
            if (seen := row.cells[j].interval) is not None:
                parts = trials.parts({row.arm: 1.0}, row.cells[j].values, column.measured)
                label = f"{row.arm}, {column.measured}"
                found["cell", i, j] = CitedNumber(label, column.measured, "mean", mean_ci(seen), parts)
        if row.over_reference is not None and table.reference is not None:
            weights = {row.arm: 1.0, table.reference: -1.0}
            parts = trials.parts(weights, trials.seeds(weights), trials.primary)
            label = f"{row.arm} − {table.reference}, {trials.primary}"
            shown = mean_ci(row.over_reference, signed=True)
            found["reference", i, 0] = CitedNumber(label, trials.primary, "difference", shown, parts)
        if done := [t for t in row.trials if t.state == "done"]:
            costs = tuple(Contribution(t.arm, t.seed, t.trial_id, t.wall_s) for t in done)
            found["cost", i, 0] = CitedNumber(f"{row.arm}, wall-clock", COST, "sum", duration(row.wall_s), costs)
    for i, claim in enumerate(table.claims):
        if claim.outcome.interval is not None:
            parts = trials.parts(claim.weights, claim.seeds, trials.primary)
            shown = mean_ci(claim.outcome.interval, signed=True)
            label = f"{claim.text}, {trials.primary}"
            found["claim", i, 0] = CitedNumber(label, trials.primary, "difference", shown, parts, claim.above)
    if table.self_test is not None:
        shown = mean_ci(table.self_test.interval, signed=True)
        parts = trials.self_test(table.self_test)
        label = f"A/A {table.self_test.arm}, {trials.primary}"
        found["self-test", 0, 0] = CitedNumber(label, trials.primary, "difference", shown, parts)
    return EvidenceIndex(found)


def how_to_run(store_uri: str) -> str:
    """Python around a query of this page: the same for every one."""
    if store_uri.startswith("s3://"):
        return (
            "import duckdb, fsspec\n\n"
            "# Credentials and AWS_ENDPOINT_URL come from where every AWS tool takes them.\n"
            'duck = duckdb.connect()\nduck.register_filesystem(fsspec.filesystem("s3"))\n'
            'duck.sql(r"""a query from this page""").show()'
        )
    return 'import duckdb\n\nduckdb.sql(r"""a query from this page""").show()\n# or: duckdb < query.sql'


class _Trials:
    """The table's trials by arm and seed."""

    def __init__(self, table: Table) -> None:
        self.primary = table.columns[table.primary].measured
        self.lines = {(line.arm, line.seed): line for line in table.trials}
        self.rows = {row.arm: row.cells[table.primary] for row in table.rows}

    def parts(self, weights: Mapping[str, float], seeds: Iterable[int], metric: str) -> tuple[Contribution, ...]:
        return tuple(self._part(arm, seed, metric, weight, seed) for seed in seeds for arm, weight in weights.items())

    def seeds(self, weights: Mapping[str, float]) -> list[int]:
        """Replicates of a contrast on the primary metric, as `verdict.weigh` counts them."""
        mine = [line for line in self.lines.values() if line.arm in weights]
        scores: dict[str, dict[int, float]] = {arm: {} for arm in weights}
        ids: dict[str, dict[int, str]] = {arm: {} for arm in weights}
        origins: dict[str, dict[int, Origin]] = {arm: {} for arm in weights}
        for line in mine:
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


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
