"""`swimlab export`: trials as one table in a file, or as runs of TensorBoard or MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pyarrow as pa
from pydantic import AfterValidator, Field
from rich.console import Console

from swimlab.base.nearest import nearest
from swimlab.base.screen import say
from swimlab.cli.store_command import StoreCommand
from swimlab.report import trackers
from swimlab.report.csv_cells import as_cells
from swimlab.report.tracked_trials import runs
from swimlab.store import query
from swimlab.store.arrow_tables import to_parquet
from swimlab.store.flat_rows import rows_table
from swimlab.store.snapshot import leaderboard

FORMATS = (".csv", ".parquet", ".json")


def _destination(name: str) -> str:
    if name != "file" and name not in trackers.names():
        raise ValueError(f"there is no {name!r}{nearest(name, ('file', *trackers.names()))}")
    return name


class Export(StoreCommand):
    """Copies trials to other tools: a table (--out FILE.csv, .parquet or .json), or TensorBoard and MLflow runs with
    curves, hyper-parameters and final metrics. Trials that a tracker already has are skipped."""

    experiment: str | None = Field(None, description="only trials that this experiment shows, with its arms")
    to: Annotated[str, AfterValidator(_destination)] = Field(
        "file", description=f"file, or {' or '.join(trackers.names())}"
    )
    out: Path | None = Field(None, description="the file, or TensorBoard's folder")
    tracking_uri: str | None = Field(None, description="MLflow's server or store, with --to mlflow")

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        tracker = self._checked()
        store = query.open_store(self.store)
        rows = query.rows_of_experiment(store, leaderboard(store).to_pylist(), self.experiment)
        if not rows:
            raise ValueError(f"{store.uri} holds no finished trial: nothing to export")
        if tracker is None:
            assert self.out is not None
            write_file(rows_table(rows), self.out)
            say(console, f"{len(rows)} trials in {self.out}")
            return 0
        target = str(getattr(self, tracker.target))
        written, skipped = tracker.copy(runs(store, rows), target)
        present = f", {skipped} were there already" if skipped else ""
        say(console, f"{written} trials copied to {self.to} at {target}{present}")
        return 0

    def _checked(self) -> trackers.Tracker | None:
        """The tracker; None for a file. Raises ValueError for flags that do not go together."""
        tracker = None if self.to == "file" else trackers.load(self.to)
        wanted = tracker.target if tracker else "out"
        for field in ("out", "tracking_uri"):
            flag = f"--{field.replace('_', '-')}"
            if field == wanted and getattr(self, field) is None:
                raise ValueError(f"--to {self.to} needs {flag}")
            if field != wanted and getattr(self, field) is not None:
                raise ValueError(f"--to {self.to} takes no {flag}")
        if self.out is not None and self.to == "file" and self.out.suffix not in FORMATS:
            raise ValueError(f"--out {self.out}: the file's ending sets the format; choose one of {', '.join(FORMATS)}")
        return tracker


def write_file(table: pa.Table, out: Path) -> None:
    """Writes the table, one row a trial, as CSV, Parquet or JSON by the file's ending.

    Parquet and JSON hold every text as it is. In CSV it is made safe for spreadsheets and terminals: see
    `csv_cells.cell`.
    """
    from pyarrow import csv

    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".csv":
        csv.write_csv(as_cells(table), out)
    elif out.suffix == ".parquet":
        out.write_bytes(to_parquet(table))
    else:
        out.write_text(json.dumps(table.to_pylist(), indent=1) + "\n")
