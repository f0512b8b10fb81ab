"""What the tests of faults share beside their fixtures."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from store_kit import completed

import nano
from swimlab import Ablation
from swimlab.cli import experiment_file
from swimlab.experiment.plan import Plan, make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.store.sweep_store import SweepStore

FILES = {"film.bin": b"frames", "checkpoint/model.bin": b"weights"}  # of every committed trial
Command = Callable[..., tuple[int, str]]


def content(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def experiment(folder: Path, table: Ablation, *argv: str) -> tuple[int, str]:
    """`python FILE ARGV` with an experiment file of this table, in this process; store and cache are in the folder. Its
    exit code and what it printed."""
    chosen = experiment_file.settings(Settings, [*argv, f"--store={folder / 'store'}", f"--cache={folder / 'cache'}"])
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), pytest.raises(SystemExit) as ended:
        experiment_file.run([table], chosen, lambda: nano.recipe(base=False))
    return int(ended.value.code or 0), output.getvalue()


def finish(folder: Path, table: Ablation) -> Plan:
    """Commits numbers for every trial of a table, as its run leaves them."""
    settings = Settings(store=str(folder / "store"), cache=folder / "cache")
    plan, store = make_plan(table, nano.recipe(base=False), settings), SweepStore(settings.store)
    for number, (_, spec) in enumerate(plan.arms):
        completed(store, spec, {"attention.ap": 0.25 + number / 64, "answer.accuracy": 0.5})
    return plan
