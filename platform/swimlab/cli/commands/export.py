"""`swimlab export`: trials as one table in a file, or as runs of TensorBoard or MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import Field
from rich.console import Console

from swimlab.base.screen import say
from swimlab.cli.store_command import StoreCommand
from swimlab.report.trackers import base, mlflow, tensorboard
from swimlab.store import query
from swimlab.store.arrow_tables import to_parquet
from swimlab.store.flat_rows import rows_table
from swimlab.store.snapshot import leaderboard

FORMATS = (".csv", ".parquet", ".json")


class Export(StoreCommand):
    """Copies trials to other tools: a table (--out FILE.csv, .parquet or .json), or TensorBoard and MLflow runs with
    curves, hyper-parameters and final metrics. Trials that a tracker already has are skipped."""

    experiment: str | None = Field(None, description="only trials that this experiment shows, with its arms")
    to: Literal["file", "tensorboard", "mlflow"] = Field("file", description="file, tensorboard or mlflow")
    out: Path | None = Field(None, description="the file, or TensorBoard's folder")
    tracking_uri: str | None = Field(None, description="MLflow's server or store, with --to mlflow")

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        self._check()
        store = query.open_store(self.store)
        rows = query.of_experiment(store, leaderboard(store).to_pylist(), self.experiment)
        if not rows:
            raise ValueError(f"{store.uri} holds no finished trial: nothing to export")
        if self.to == "file":
            assert self.out is not None
            write_file(rows_table(rows), self.out)
            say(console, f"{len(rows)} trials in {self.out}")
            return 0
        if self.to == "tensorboard":
            assert self.out is not None
            (written, skipped), target = tensorboard.to_tensorboard(base.runs(store, rows), self.out), str(self.out)
        else:
            assert self.tracking_uri is not None
            target = self.tracking_uri
            written, skipped = mlflow.to_mlflow(base.runs(store, rows), target)
        present = f", {skipped} were there already" if skipped else ""
        say(console, f"{written} trials copied to {self.to} at {target}{present}")
        return 0

    def _check(self) -> None:
        """Raises ValueError for flags that do not go together."""
        if self.to == "mlflow":
            if self.tracking_uri is None or self.out is not None:
                raise ValueError("--to mlflow needs --tracking-uri, and takes no --out")
        elif self.tracking_uri is not None:
            raise ValueError("--tracking-uri is for --to mlflow")
        elif self.out is None:
            raise ValueError(f"--to {self.to} needs --out")
        elif self.to == "file" and self.out.suffix not in FORMATS:
            raise ValueError(f"--out {self.out}: the file's ending sets the format; choose one of {', '.join(FORMATS)}")


def write_file(table: pa.Table, out: Path) -> None:
    """Writes the table, one row a trial, as CSV, Parquet or JSON by the file's ending."""
    from pyarrow import csv

    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".csv":
        csv.write_csv(table, out)
    elif out.suffix == ".parquet":
        out.write_bytes(to_parquet(table))
    else:
        out.write_text(json.dumps(table.to_pylist(), indent=1) + "\n")
