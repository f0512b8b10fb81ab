"""The table of trials that `plan` prints: a row a trial, or, of very many, a row for the trials of an arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.table import Table
from rich.text import Text

# More lines than anybody reads. Drawing 5,000 took 7 s of CPU.
MOST_ROWS = 200


@dataclass(frozen=True)
class TrialRow:
    """A line of the table."""

    trial: str
    arm: str
    seed: str
    recipe: str
    steps: str
    state: str
    time: str


def trials_table(title: str, rows: Sequence[TrialRow]) -> Table:
    """The rows as a table, put together where they are more than `MOST_ROWS`."""
    table = Table(title=Text(title))
    for column in ("trial", "arm", "seed", "recipe", "steps", "state", "time"):
        table.add_column(column, justify="right" if column in ("seed", "steps", "time") else "left")
    for row in rows if len(rows) <= MOST_ROWS else _by_arm(rows):
        table.add_row(*map(Text, (row.trial, row.arm, row.seed, row.recipe, row.steps, row.state, row.time)))
    return table


def _by_arm(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """A row for the trials of an arm that are in the same state."""
    groups: dict[tuple[str, str, str, str], list[TrialRow]] = {}
    for row in rows:
        groups.setdefault((row.arm, row.recipe, row.steps, row.state), []).append(row)
    merged = []
    for several in groups.values():
        times = dict.fromkeys(row.time for row in several)
        merged.append(
            replace(
                several[0],
                trial=several[0].trial if len(several) == 1 else f"{len(several)} trials",
                seed=several[0].seed if len(several) == 1 else f"{several[0].seed} … {several[-1].seed}",
                time=several[0].time if len(times) == 1 else "various",
            )
        )
    return merged
