"""The record of one run of the builder, in the store: counts, estimated and actual cost, errors on known rows.

reports/build_nl_refer/<run_id>/{summary.json, rejected.jsonl, report.md, index.html}
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scipy import stats

from swim.data.nl_refer import reference_rows
from swim.data.rows.read import read_rows
from swim.recipe import Frozen
from swimlab.store.attempts import entry_of
from swimlab.store.errors import StoreError
from swimlab.store.records import Provenance
from swimlab.store.sealed_json import SealedModel
from swimlab.store.sweep_store import SweepStore

EXPERIMENT = "build_nl_refer"
SCHEMA_VERSION = 1


class Errors(Frozen):
    """Outcomes of the expressions of one group of known rows, by `reference_rows.Outcome`."""

    group: str
    counts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def rewritten(self) -> int:
        return self.total - self.counts.get("rejected", 0)

    @property
    def wrong(self) -> int:
        return self.rewritten - self.counts.get("right", 0)


class Built(SealedModel):
    """One run. `tally` is a `job.RewriteTally`, `estimate` a `rewriter.RewriteEstimate`; costs are in the prices'
    currency: `spent` in this run, `expected` before it. `rejected_sha256` is of the stored rejects (None in
    older runs)."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    command: str
    settings: dict[str, Any]
    provenance: Provenance
    wall_s: float
    outputs: dict[str, str]
    tally: dict[str, Any]
    estimate: dict[str, Any] | None = None
    expected: float | None = None
    spent: float = 0.0
    errors: tuple[Errors, ...] = ()
    rejected_sha256: str | None = None


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, by Wilson's score, which is valid for 0 of n; (0, 1) for n = 0."""
    if not total:
        return 0.0, 1.0
    interval = stats.binomtest(count, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def errors_in(rows: Iterable[reference_rows.ReferenceRow], out: Path) -> tuple[Errors, ...]:
    """Compare a rewritten file with the known rows it was made from: the n-th of them is row n of the file it was read
    from, which the rewritten row's `index` says."""
    written = {int(row["index"].rpartition("_")[2]): row for _, row in read_rows(out)}
    counts: dict[str, Counter[str]] = {group: Counter() for group in reference_rows.GROUPS}
    for number, known_row in enumerate(rows):
        if number not in written:
            counts[known_row.group]["rejected"] += len(known_row.referred)
            continue
        for position, referent in enumerate(reference_rows.read_back(known_row, written[number])):
            counts[known_row.group][reference_rows.judge(known_row, position, referent)] += 1
    return tuple(Errors(group=group, counts=dict(count)) for group, count in counts.items())


def commit(store: SweepStore, built: Built, rejected: Path) -> None:
    """Writes a run and its rejects. Raises StoreError when the run is already there."""
    folder = f"reports/{EXPERIMENT}/{built.run_id}"
    store.backend.create(f"{folder}/rejected.jsonl", rejected)
    built = built.model_copy(update={"rejected_sha256": entry_of(rejected).sha256})
    if not store.put_create_only(f"{folder}/summary.json", built.to_json()):
        raise StoreError(f"{store.uri}/{folder} exists: a run is never overwritten")


def load(store: SweepStore, run_id: str | None) -> Built:
    """A run, or the newest. Raises StoreError when there is none."""
    summaries = [path for path in store.list_files(f"reports/{EXPERIMENT}") if path.endswith("/summary.json")]
    matching = [path for path in summaries if run_id is None or path.split("/")[2] == run_id]
    if not matching:
        raise StoreError(f"store {store.uri} has no run {run_id or ''} of {EXPERIMENT}; run it first")
    try:
        return Built.from_json(store.read(matching[-1]))
    except ValueError as error:
        raise StoreError(
            f"{store.uri}/{matching[-1]} is not a run of schema {SCHEMA_VERSION}, or is damaged: {error}"
        ) from error


def first_rejects(store: SweepStore, built: Built, count: int) -> list[dict[str, Any]]:
    """The first rejects of a run, in the order of the rows. Raises StoreError when they are not those of the run."""
    path = f"reports/{EXPERIMENT}/{built.run_id}/rejected.jsonl"
    with store.open(path) as file:
        digest = hashlib.sha256()
        while block := file.read(2**20):
            digest.update(block)
        if built.rejected_sha256 not in (None, digest.hexdigest()):
            raise StoreError(f"{store.uri}/{path} was altered after the run wrote it; restore it from a backup")
        file.seek(0)
        lines = [file.readline() for _ in range(count)]
    return [json.loads(line) for line in lines if line.strip()]
