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
    """Trials for other tools: a table (--out FILE.csv, .parquet or .json), or TensorBoard and MLflow runs with curves,
    hyper-parameters and final metrics. Trials that a tracker has are skipped."""

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
            raise ValueError(f"{store.uri} holds no trial that is done: nothing to export")
        if self.to == "file":
            assert self.out is not None
            write_file(rows_table(rows), self.out)
            say(console, f"{len(rows)} trials in {self.out}")
            return 0
        if self.to == "tensorboard":
            assert self.out is not None
            (written, skipped), where = tensorboard.to_tensorboard(base.runs(store, rows), self.out), str(self.out)
        else:
            assert self.tracking_uri is not None
            where = self.tracking_uri
            written, skipped = mlflow.to_mlflow(base.runs(store, rows), where)
        there = f", {skipped} were there already" if skipped else ""
        say(console, f"{written} trials copied to {self.to} at {where}{there}")
        return 0

    def _check(self) -> None:
        """Raises ValueError for flags that do not go together."""
        if self.to == "mlflow":
            if self.tracking_uri is None or self.out is not None:
                raise ValueError("--to mlflow wants --tracking-uri, and no --out")
        elif self.tracking_uri is not None:
            raise ValueError("--tracking-uri is for --to mlflow")
        elif self.out is None:
            raise ValueError(f"--to {self.to} wants --out")
        elif self.to == "file" and self.out.suffix not in FORMATS:
            raise ValueError(f"--out {self.out}: the ending says the format; choose one of {', '.join(FORMATS)}")


def write_file(table: pa.Table, out: Path) -> None:
    """One row a trial, in the format of the file's ending."""
    from pyarrow import csv

    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".csv":
        csv.write_csv(table, out)
    elif out.suffix == ".parquet":
        out.write_bytes(to_parquet(table))
    else:
        out.write_text(json.dumps(table.to_pylist(), indent=1) + "\n")
