"""`swimlab why A B`: what differs between two trials, on one screen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg, CliToggleFlag
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from swimlab.base.screen import say
from swimlab.cli.store_command import StoreCommand
from swimlab.report.number_format import NO_VALUE, number
from swimlab.stats.pairing import UNKNOWN
from swimlab.store import query
from swimlab.store.errors import StoreError
from swimlab.store.evaluation_records import TrialResult
from swimlab.store.newest_results import newest_results
from swimlab.store.sweep_store import SweepStore
from swimlab.store.trial_diff import Comparison, Difference, compare

MOST_MODULES = 12
MOST_DIFF_LINES = 60
METRICS = ("attention.ap", "answer.accuracy", "train.loss")
_SIDE = {None: ("", ""), "left": ("runs it", NO_VALUE), "right": (NO_VALUE, "runs it")}


class Why(StoreCommand):
    """Prints what differs between two trials: recipe, code, data, start weights, numerics, versions."""

    a: CliPositionalArg[str] = Field(description="a trial id, or the beginning of one")
    b: CliPositionalArg[str] = Field(description="the other trial, as A")
    diff: CliToggleFlag[bool] = Field(False, description="print what changed in each module")

    def run(self, console: Console) -> int:
        """See `StoreCommand`."""
        store = query.open_store(self.store)
        left, right = committed(store, [query.resolve(store, name) for name in (self.a, self.b)])
        comparison = compare(store, left, right)
        shown = query.arms_by_trial(store)
        grid = _grid(comparison, [shown.get(r.trial_id, []) for r in (left, right)])
        console.print(grid)
        if self.diff:
            for module in comparison.code:
                say(console, _shortened(module.diff))
        console.print(Text(comparison.sentence, style="bold"))
        if comparison.base and left.init_trial_id and right.init_trial_id:
            say(console, f"swimlab why {left.init_trial_id[:8]} {right.init_trial_id[:8]}   for what they start from")
        return 0


def committed(store: SweepStore, trial_ids: Sequence[str]) -> list[TrialResult]:
    """The record of each trial, with its newest evaluations.

    Raises:
        StoreError: for a trial that has attempts but no result.
    """
    results = newest_results(store, trial_ids)
    for trial_id in trial_ids:
        if trial_id not in results:
            raise StoreError(f"trial {trial_id} has no result yet; `swimlab show {trial_id[:8]}` shows its attempts")
    return [results[trial_id] for trial_id in trial_ids]


def _grid(comparison: Comparison, shown: Sequence[Sequence[query.Shown]]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    grid.add_column("", style="dim", no_wrap=True)
    grid.add_column("", overflow="fold")
    left, right = comparison.left, comparison.right
    for name, record in (("A", left), ("B", right)):
        grid.add_column(f"{name} {record.trial_id[:12]}", overflow="fold", min_width=18)

    def add(subject: str, item: str, left_value: Any, right_value: Any) -> None:
        grid.add_row(subject, *(Text(text) for text in (item, format_value(left_value), format_value(right_value))))

    def section(subject: str, text_if_equal: str, differences: Sequence[Difference]) -> None:
        if not differences:
            add(subject, text_if_equal, "", "")
        for i, d in enumerate(differences):
            add(subject if i == 0 else "", d.path, d.left, d.right)

    add("arm", "", *("; ".join(f"{s.experiment}: {s.arm}" for s in at) or NO_VALUE for at in shown))
    add("recipe", "name", left.recipe_name, right.recipe_name)
    section("", "same fields", comparison.recipe)
    if comparison.base:
        add("base", "starts from", _short(left.init_trial_id), _short(right.init_trial_id))
    if comparison.start:
        add("start", "hash of weights", *((r.start_weights or UNKNOWN)[:12] for r in (left, right)))
    _code(comparison, add)
    same = "same data" if not comparison.data else "fingerprint"
    add("data", same, *(("", "") if not comparison.data else (left.data_fingerprint[:12], right.data_fingerprint[:12])))
    for line in _why_data(comparison):
        add("", line, "", "")
    section("", "", comparison.places) if comparison.places else None
    section("numerics", "same class", comparison.numerics)
    section("versions", "same", comparison.versions)
    for i, name in enumerate(name for name in METRICS if name in left.metrics or name in right.metrics):
        a, b = (number(r.metrics.get(name)) for r in (left, right))
        add("outcome" if i == 0 else "", name, a, b)
    return grid


def _code(comparison: Comparison, add: Any) -> None:
    left, right = comparison.left.code_fingerprint, comparison.right.code_fingerprint
    if left == right:
        add("code", "same code", "", "")
        return
    add("code", "fingerprint", left[:12], right[:12])
    for module in comparison.code[:MOST_MODULES]:
        changed = module.diff.splitlines()[2:]
        signs = [f"{sum(line[:1] == sign for line in changed)} lines" for sign in "-+"]
        add("", module.module, *(_SIDE[module.only] if module.only else (f"− {signs[0]}", f"+ {signs[1]}")))
    if (more := len(comparison.code) - MOST_MODULES) > 0:
        add("", f"and {more} more modules (--diff)", "", "")


def _why_data(comparison: Comparison) -> list[str]:
    """What differs in the data where no recipe field does, and the fingerprint alone does not tell."""
    if not comparison.data or any(d.path.startswith("data.") for d in comparison.recipe):
        return []
    if any(m.module.startswith(("swim.data.shapes", "swim.data.synthetic")) for m in comparison.code):
        return ["same settings; the generator's code changed"]
    if comparison.left.recipe["data"]["kind"] == "shapes_world":
        return ["same settings; the generator ran other code"]
    if comparison.places:
        return ["other annotation files or videos"]
    return ["same file names; an annotation file or a video had other contents"]


def format_value(field: Any) -> str:
    """A field as it is written in a recipe."""
    if isinstance(field, str):
        return field
    return NO_VALUE if field is None else json.dumps(field)


def _shortened(diff: str) -> str:
    lines = diff.splitlines()
    more = [f"… {len(lines) - MOST_DIFF_LINES} more lines"] if len(lines) > MOST_DIFF_LINES else []
    return "\n".join([*lines[:MOST_DIFF_LINES], *more, ""])


def _short(trial_id: str | None) -> str:
    return trial_id[:12] if trial_id else "fresh weights"
