"""Finds trials in a store: by a prefix of their id, and as rows that can be filtered and sorted."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from swimlab.store.arms_tables import read_arms
from swimlab.store.attempt_files import read_claims
from swimlab.store.backends.patience import SHORT_S
from swimlab.store.errors import StoreError
from swimlab.store.sweep_store import SweepStore

CONTENTS = ("records", "evaluations", "attempts", "tables", "clips", "protocols", "plans", "code", "reports")
MOST_CANDIDATES = 8


def open_store(uri: str) -> SweepStore:
    """An existing store. Raises StoreError for a folder that is no store; the message names the flag."""
    store = SweepStore(uri, patience_s=SHORT_S)
    choose = "name the sweep store with --store or SWIMLAB_STORE: a folder or s3://bucket/prefix"
    if "://" not in store.uri:
        folder = Path(store.uri)
        if not folder.is_dir():
            state = "a file" if folder.exists() else "not there"
            raise StoreError(f"store {store.uri} is {state}; {choose}")
        if not any((folder / name).is_dir() for name in CONTENTS):
            raise StoreError(f"{store.uri} is a folder, but not a sweep store (no records/ in it); {choose}")
    elif not any(store.list_files(name) for name in CONTENTS):
        raise StoreError(f"there is no sweep store at {store.uri}; {choose}")
    return store


def resolve(store: SweepStore, prefix: str) -> str:
    """The trial whose id begins with `prefix`. Raises StoreError when there is none, or several (it lists them)."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", prefix):
        raise StoreError(f"{prefix!r} is not a trial id or the beginning of one; `swimlab ls` lists them")
    names = store.trial_ids()
    if not (matches := _beginning(names, prefix)):
        # Trials that never ended well have attempts only.
        matches = _beginning(_attempted_trials(store, prefix), prefix)
    if prefix in matches:
        return prefix
    if not matches:
        raise StoreError(f"no trial in {store.uri} begins with {prefix!r}; `swimlab ls` lists them")
    if len(matches) > 1:
        more = f" and {len(matches) - MOST_CANDIDATES} more" if len(matches) > MOST_CANDIDATES else ""
        raise StoreError(
            f"{prefix!r} begins {len(matches)} trials: {', '.join(matches[:MOST_CANDIDATES])}{more}; give more letters"
        )
    return matches[0]


def _attempted_trials(store: SweepStore, prefix: str) -> set[str]:
    """Trials with attempts; evaluations have attempts too, and their claims name what is evaluated."""
    paths = [path.split("/") for path in store.list_files("attempts")]
    claimed = [(parts[1], int(parts[2])) for parts in paths if parts[3:] == ["claim"] and parts[1].startswith(prefix)]
    return {work_id for (work_id, _), claim in read_claims(store.backend, claimed).items() if claim.target is None}


def _beginning(names: Iterable[str], prefix: str) -> list[str]:
    return sorted(name for name in names if name.startswith(prefix))


@dataclass(frozen=True)
class Shown:
    """An arm of an experiment that shows a trial."""

    experiment: str
    recipe: str
    arm: str
    seed: int


def arms_by_trial(store: SweepStore) -> dict[str, list[Shown]]:
    """Trial id → the arms that show it, as of each experiment's last run (tables/arms)."""
    placements: dict[str, list[Shown]] = {}
    for path in store.list_files("tables/arms"):
        for row in read_arms(store, path).to_pylist():
            placements.setdefault(row["trial_id"], []).append(
                Shown(row["experiment"], row["recipe"], row["arm"], row["seed"])
            )
    return placements


def rows_of_experiment(
    store: SweepStore, rows: Sequence[Mapping[str, Any]], experiment: str | None
) -> list[dict[str, Any]]:
    """The rows with the columns `experiment` and `arm` in front: one row for every arm of the experiment that shows
    the trial, or, without an experiment, one row per trial that lists all arms.

    Raises ValueError for an experiment that the store does not have, naming the nearest.
    """
    shown = arms_by_trial(store)
    if experiment is None:
        return [
            {"experiment": _listed(s.experiment for s in at), "arm": _listed(s.arm for s in at), **row}
            for row in rows
            for at in [shown.get(row["trial_id"], [])]
        ]
    experiments = sorted({s.experiment for at in shown.values() for s in at})
    if experiment not in experiments:
        available = f"it has {', '.join(experiments)}" if experiments else "no experiment was run to its end there"
        raise ValueError(
            f"--experiment {experiment}: {store.uri} has no experiment of that name"
            f"{_near(experiment, experiments)}; {available}"
        )
    return [
        {"experiment": experiment, "arm": s.arm, **row}
        for row in rows
        for s in shown.get(row["trial_id"], [])
        if s.experiment == experiment
    ]


def _listed(names: Iterable[str]) -> str | None:
    return ", ".join(dict.fromkeys(names)) or None


# Longest first: "<=" is not "<" and a value that begins with "=".
_CONDITION = re.compile(r"\s*([^\s=<>!]+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """A comparison such as `column = value`, as written on a command line."""

    column: str
    sign: str
    value: str

    @classmethod
    def parsed(cls, text: str) -> Condition:
        """Raises ValueError for a text that is no condition."""
        if not (match := _CONDITION.fullmatch(text)):
            raise ValueError(
                f"--where {text!r} is not a condition; write it as objective.fusion=mean or attention.ap>0.5"
            )
        return cls(*match.groups())

    def holds(self, actual: Any) -> bool:
        """Whether a row's value meets the condition. A missing value meets only `!=`."""
        number = _number(self.value)
        if isinstance(actual, int | float) and not isinstance(actual, bool):
            if number is None:
                if self.sign in ("=", "!="):
                    return self.sign == "!="
                raise ValueError(f"--where {self.column}{self.sign}{self.value}: {self.column} holds numbers")
            left, right = float(actual), number
        elif self.sign in ("=", "!="):
            return (actual is not None and _plain(actual) == _plain(self.value)) == (self.sign == "=")
        elif actual is None:
            return False
        else:
            raise ValueError(f"--where {self.column}{self.sign}{self.value}: {self.column} holds text; use = or !=")
        return {
            "=": left == right,
            "!=": left != right,
            "<": left < right,
            "<=": left <= right,
            ">": left > right,
            ">=": left >= right,
        }[self.sign]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _plain(value: Any) -> str:
    """Lists are JSON in the rows: spaces in them are ignored, and so is the spelling of booleans."""
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    return "".join(text.split()).lower() if text[:1] in "[{" or isinstance(value, bool) else text


def check_columns(columns: Sequence[str], requested: Iterable[tuple[str, str]]) -> None:
    """`requested`: flag and column. Raises ValueError for an unknown column, naming the nearest."""
    for flag, name in requested:
        if name not in columns:
            raise ValueError(f"{flag} {name}: no trial has such a column{_near(name, columns)}")


def _near(name: str, choices: Sequence[str]) -> str:
    # The last word counts as well: `ap` means attention.ap more than it means arm.
    ends = [choice for choice in choices if choice.rpartition(".")[2] == name]
    near = ends or get_close_matches(name, choices, n=1, cutoff=0.0)
    return f"; the nearest is {near[0]!r}" if near else ""


def in_order(rows: Sequence[Mapping[str, Any]], column: str, *, ascending: bool) -> list[Mapping[str, Any]]:
    """Rows sorted by a column; rows without a value come last in either direction."""
    having = [row for row in rows if not _absent(row.get(column))]
    mixed = len({isinstance(row[column], str) for row in having}) > 1
    key = (lambda row: str(row[column])) if mixed else (lambda row: row[column])
    return [*sorted(having, key=key, reverse=not ascending), *(row for row in rows if _absent(row.get(column)))]


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
