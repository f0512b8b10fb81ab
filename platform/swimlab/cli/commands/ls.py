"""`swimlab ls`: the leaderboard of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import CliToggleFlag
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from swimlab.base.screen import say
from swimlab.base.times import ago
from swimlab.cli.store_command import StoreCommand
from swimlab.report.number_format import NO_VALUE, duration, number
from swimlab.store import query
from swimlab.store.query import Condition
from swimlab.store.snapshot import leaderboard

SHORT_ID = 8
METRICS = ("attention.ap", "answer.accuracy", "train.loss")
_HEADS = {"recipe_name": "recipe", "finished_at": "finished", "cost.wall_s": "wall"}


class Ls(StoreCommand):
    """Lists the trials of a store as a leaderboard."""

    experiment: str | None = Field(None, description="only trials that this experiment shows, with its arms")
    where: list[str] = Field(
        [], description="conditions that a trial must meet: objective.fusion=mean, attention.ap>0.5, data.fraction!=1"
    )
    sort: str | None = Field(None, description="a column, largest first; default: when they finished, latest first")
    ascending: CliToggleFlag[bool] = Field(False, description="smallest first")
    columns: list[str] = Field([], description="columns to show, instead of the usual ones")
    limit: int = Field(30, ge=1, description="rows at most")

    @field_validator("where")
    @classmethod
    def _whole(cls, parts: list[str]) -> list[str]:
        # The command line splits lists at commas, also those inside objective.layers=[1,2].
        whole: list[str] = []
        for part in parts:
            if whole and not any(sign in part for sign in "=<>"):
                whole[-1] += f",{part}"
            else:
                whole.append(part)
        return whole

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        store = query.open_store(self.store)
        board = leaderboard(store)
        conditions = [Condition.parsed(text) for text in self.where]
        requested = [c.column for c in conditions if c.sign != "="] + ([self.sort] if self.sort else [])
        checked = [("--where", c.column) for c in conditions] + [("--columns", name) for name in self.columns]
        checked += [("--sort", self.sort)] if self.sort else []
        filled = [name for name in board.column_names if board[name].null_count < len(board)]
        query.check_columns(["experiment", "arm", *filled], checked)
        columns = self.columns or _columns(filled, requested)
        needed = {"trial_id", "finished_at", *columns, *(name for _, name in checked)}
        rows = board.select([name for name in board.column_names if name in needed]).to_pylist()
        rows = query.rows_of_experiment(store, rows, self.experiment)
        matches = [row for row in rows if all(c.holds(row.get(c.column)) for c in conditions)]
        ordered = query.in_order(matches, self.sort or "finished_at", ascending=self.ascending)
        same = {} if self.columns else _same(rows)
        if ordered:
            console.print(_grid(ordered[: self.limit], [name for name in columns if name not in same]))
        summary = f"{len(matches)} of {len(rows)} trials" if conditions else f"{len(rows)} trials"
        all_of = ", ".join(f"{_HEADS.get(name, name)} {value}" for name, value in same.items() if value is not None)
        more = f", the first {self.limit} shown (--limit)" if len(matches) > self.limit else ""
        say(console, f"{summary} in {store.uri}{f' ({all_of})' if all_of else ''}{more}")
        return 0


def _same(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Values that all trials have in common, which are printed once below the table instead of in a column."""
    common = {}
    for name in ("experiment", "recipe_name", "arm"):
        values = {row[name] for row in rows if name in row}
        if len(values) == 1 and (name != "arm" or values == {None}):
            common[name] = values.pop()
    return common


def _columns(filled: Sequence[str], requested: Sequence[str]) -> list[str]:
    """The usual columns and those of the conditions and of --sort."""
    shown = ["experiment", "arm", "recipe_name", "seed"]
    extra = [name for name in requested if name not in (*shown, "finished_at", "trial_id")]
    # Three metrics fit beside the other columns into a log of 100.
    metrics = [name for name in METRICS if name in filled and name not in requested][: max(0, 3 - len(extra))]
    return [*shown, *dict.fromkeys(extra), *metrics, "cost.wall_s", "finished_at"]


def _grid(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("trial", no_wrap=True)
    numeric = {name for name in columns if all(isinstance(row.get(name), int | float | None) for row in rows)}
    for name in columns:
        # Heads on two lines: six metrics fit a log of 100 columns.
        head = _HEADS.get(name, name)
        right = name in numeric
        title = Text(head.replace(".", "\n", 1), justify="right" if right else "left")
        grid.add_column(
            title, justify="right" if right else "left", overflow="fold", no_wrap=right, min_width=6, max_width=28
        )
    for row in rows:
        grid.add_row(Text(row["trial_id"][:SHORT_ID]), *(Text(_cell(name, row.get(name))) for name in columns))
    return grid


def _cell(name: str, value: Any) -> str:
    if value is None:
        return NO_VALUE
    if name == "finished_at":
        return ago(value)
    if name.startswith("cost.") and name.endswith("_s"):
        return duration(value)
    return number(value) if isinstance(value, float) else str(value)
