"""What each number of a table rests on: its trials, the SQL that computes it again, and an id to quote it by.

An id is a hash over trial ids, metric and statistic, so the same number has the same id in every rendering, table and
store, and another number never has it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from swimlab import verdict
from swimlab.summary import ClaimRow, Row, SelfTest, Table
from swimlab.wording import duration, mean_ci

ID_DIGITS = 8
COST = "cost.wall_s"

Statistic = Literal["mean", "difference", "sum"]
Key = tuple[str, int, int]
"""("cell", row, column) | ("reference" | "cost", row, 0) | ("claim", claim, 0) | ("self-test", 0, 0)"""

MEANING: Mapping[Statistic, str] = {
    "mean": "mean over seeds, half-width of its 95 % Student-t interval",
    "difference": "mean over seeds of the paired difference, half-width of its 95 % Student-t interval",
    "sum": "sum over trials",
}


@dataclass(frozen=True)
class Part:
    """One trial's share in a number; parts of one `replicate` (a seed, or a pair of seeds) are added up by weight."""

    arm: str
    seed: int
    trial_id: str
    value: float
    weight: float = 1.0
    replicate: int = 0


@dataclass(frozen=True)
class Number:
    """A number as shown, and its parts. `label` says what it is; it is not part of the id."""

    label: str
    metric: str
    statistic: Statistic
    shown: str
    parts: tuple[Part, ...]

    @property
    def id(self) -> str:
        """Stable and short: eight hex digits."""
        parts = sorted([p.replicate, p.weight, p.trial_id] for p in self.parts)
        content = json.dumps([self.statistic, self.metric, parts], separators=(",", ":"))
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
        table = _literal(f"{glob.escape(store_uri)}/tables/trials/*.parquet")
        trials = f"read_parquet({table}, union_by_name = true)"
        title = f"-- {self.id}: {' '.join(self.label.split())}; {self.meaning}"
        if self.statistic == "sum":
            ids = ",\n    ".join(map(_literal, self.trial_ids))
            return f"{title}\nselect sum({name}) as value\nfrom {trials}\nwhere trial_id in (\n    {ids}\n);"
        rows = ",\n    ".join(f"({p.replicate}, {p.weight!r}, {_literal(p.trial_id)})" for p in self.parts)
        n = len({part.replicate for part in self.parts})
        half = f"{verdict.critical(n)!r} * stddev_samp(value) / sqrt(count(*))" if n > 1 else "null"
        return (
            f"{title}\nwith part(replicate, weight, trial_id) as (values\n    {rows}\n), replicates as (\n"
            f"    select replicate, sum(weight * {name}) as value\n    from part join {trials} using (trial_id)\n"
            f"    group by replicate\n)\nselect count(*) as n, avg(value) as mean, {half} as half_width\nfrom replicates;"
        )

    def replays(self, store_uri: str) -> list[str]:
        """The shell line that runs each trial again and compares."""
        return [f"swimlab replay {trial_id} --store {shlex.quote(store_uri)}" for trial_id in self.trial_ids]


@dataclass(frozen=True)
class Ledger:
    """The numbers of a table by where they stand; a place without a value has none."""

    numbers: Mapping[Key, Number] = field(default_factory=dict)

    def get(self, kind: str, index: int = 0, column: int = 0) -> Number | None:
        """The number shown there, if one is."""
        return self.numbers.get((kind, index, column))

    def id(self, kind: str, index: int = 0, column: int = 0) -> str:
        """Its id, or "" where no number is shown."""
        number = self.get(kind, index, column)
        return number.id if number else ""

    def __iter__(self) -> Iterator[Number]:
        """Each id once, in the order of the table; what is shown in several places names them all."""
        labels: dict[str, list[str]] = {}
        for number in self.numbers.values():
            labels.setdefault(number.id, []).append(number.label)
        first = {number.id: number for number in reversed(self.numbers.values())}
        for name, several in labels.items():
            number = first[name]
            label = " = ".join(dict.fromkeys(several))
            yield Number(label, number.metric, number.statistic, number.shown, number.parts)


def ledger(table: Table) -> Ledger:
    """Every number of the table that comes from trials."""
    numbers: dict[Key, Number] = {}
    primary = table.columns[table.primary].measured
    for i, row in enumerate(table.rows):
        for j, column in enumerate(table.columns):
            cell = row.cells[j]
            if cell.interval is not None:
                parts = _weighted({row.arm: 1.0}, table, j, list(cell.values))
                numbers["cell", i, j] = Number(
                    f"{row.arm}, {column.measured}", column.measured, "mean", mean_ci(cell.interval), parts
                )
        if row.over_reference is not None and table.reference is not None:
            weights = {row.arm: 1.0, table.reference: -1.0}
            label = f"{row.arm} − {table.reference}, {primary}"
            shown = mean_ci(row.over_reference, signed=True)
            parts = _weighted(weights, table, table.primary, _shared(weights, table))
            numbers["reference", i, 0] = Number(label, primary, "difference", shown, parts)
        if done := [t for t in row.trials if t.state == "done"]:
            costs = tuple(Part(t.arm, t.seed, t.trial_id, t.wall_s) for t in done)
            numbers["cost", i, 0] = Number(f"{row.arm}, wall-clock", COST, "sum", duration(row.wall_s), costs)
    for i, claim in enumerate(table.claims):
        if claim.outcome.interval is not None:
            numbers["claim", i, 0] = _of_claim(claim, table, primary)
    if table.self_test is not None:
        numbers["self-test", 0, 0] = _of_self_test(table.self_test, table, primary)
    return Ledger(numbers)


def how_to_run(store_uri: str) -> str:
    """Python around a query of this page: the same for every one."""
    if store_uri.startswith("s3://"):
        return (
            "import duckdb, fsspec\n\n"
            "# Credentials and AWS_ENDPOINT_URL come from where every AWS tool takes them.\n"
            'duckdb.register_filesystem(fsspec.filesystem("s3"))\n'
            "duckdb.sql(\"\"\"a query from this page\"\"\").show()"
        )
    return 'import duckdb\n\nduckdb.sql("""a query from this page""").show()\n# or: duckdb < query.sql'


def _of_claim(claim: ClaimRow, table: Table, primary: str) -> Number:
    shown = mean_ci(claim.outcome.interval, signed=True)
    parts = _weighted(claim.weights, table, table.primary, claim.seeds)
    return Number(f"claim {claim.text}, {primary}", primary, "difference", shown, parts)


def _of_self_test(test: SelfTest, table: Table, primary: str) -> Number:
    row = next(row for row in table.rows if row.arm == test.arm)
    values = row.cells[table.primary].values
    seeds = sorted(values)
    parts = []
    for replicate, pair in enumerate(verdict.a_a_pairs(len(seeds))):
        for seed, weight in zip((seeds[i] for i in pair), (1.0, -1.0), strict=True):
            parts.append(Part(row.arm, seed, _trial_id(row, seed), values[seed], weight, replicate))
    shown = mean_ci(test.interval, signed=True)
    return Number(f"A/A {test.arm}, {primary}", primary, "difference", shown, tuple(parts))


def _weighted(weights: Mapping[str, float], table: Table, column: int, seeds: Sequence[int]) -> tuple[Part, ...]:
    rows = {row.arm: row for row in table.rows}
    return tuple(
        Part(arm, seed, _trial_id(rows[arm], seed), rows[arm].cells[column].values[seed], weight, seed)
        for seed in seeds
        for arm, weight in weights.items()
    )


def _shared(weights: Mapping[str, float], table: Table) -> list[int]:
    values = [set(row.cells[table.primary].values) for row in table.rows if row.arm in weights]
    return sorted(set.intersection(*values))


def _trial_id(row: Row, seed: int) -> str:
    return next(trial.trial_id for trial in row.trials if trial.seed == seed)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
