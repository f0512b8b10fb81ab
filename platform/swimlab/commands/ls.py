"""`swimlab ls`: the leaderboard of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field, field_validator
from pydantic_settings import CliImplicitFlag
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from swimlab import lookup
from swimlab.commands.base import StoreCommand, ago, say
from swimlab.lookup import Condition
from swimlab.wording import NO_VALUE, duration, number

SHORT_ID = 8
METRICS = ("attention.ap", "answer.accuracy", "train.loss")


class Ls(StoreCommand):
    """The trials of a store, as a leaderboard."""

    experiment: str | None = Field(None, description="only trials that this experiment shows, with its arms")
    where: list[str] = Field(
        [], description="conditions that all must hold: objective.fusion=mean, attention.ap>0.5, data.fraction!=1"
    )
    sort: str | None = Field(None, description="a column, best first; default: when they finished, latest first")
    ascending: CliImplicitFlag[bool] = Field(False, description="smallest first")
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
        store = lookup.open_store(self.store)
        rows = lookup.of_experiment(store, lookup.leaderboard(store), self.experiment)
        conditions = [Condition.parsed(text) for text in self.where]
        wanted = [("--where", c.column) for c in conditions] + [("--columns", name) for name in self.columns]
        lookup.check_columns(rows, [*wanted, *([("--sort", self.sort)] if self.sort else [])])
        found = [row for row in rows if all(c.holds(row.get(c.column)) for c in conditions)]
        ordered = lookup.in_order(found, self.sort or "finished_at", ascending=self.ascending)
        if ordered:
            asked = [c.column for c in conditions if c.sign != "="] + ([self.sort] if self.sort else [])
            columns = self.columns or _columns(rows, asked)
            console.print(_grid(ordered[: self.limit], columns))
        said = f"{len(found)} of {len(rows)} trials" if conditions else f"{len(rows)} trials"
        more = f", the first {self.limit} shown (--limit)" if len(found) > self.limit else ""
        say(console, f"{said} in {store.uri}{more}")
        return 0


def _columns(rows: Sequence[Mapping[str, Any]], asked: Sequence[str]) -> list[str]:
    having = {name for row in rows for name, value in row.items() if value is not None}
    shown = ["experiment", "arm"] if {"experiment", "arm"} <= having else []
    if len({row["experiment"] for row in rows}) == 1:
        shown = shown[1:]
    # Three numbers beside the others: what fits 100 columns.
    metrics = [name for name in METRICS if name in having and name not in asked][: max(0, 3 - len(asked))]
    extra = [name for name in asked if name not in ("recipe_name", "seed", "finished_at", "trial_id", *shown)]
    return [*shown, "recipe_name", "seed", *dict.fromkeys(extra), *metrics, "cost.wall_s", "finished_at"]


def _grid(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("trial", no_wrap=True)
    numeric = {name for name in columns if all(isinstance(row.get(name), int | float | None) for row in rows)}
    for name in columns:
        # Two lines a head: six metrics fit 100 columns.
        head = {"recipe_name": "recipe", "finished_at": "finished", "cost.wall_s": "wall"}.get(name, name)
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
