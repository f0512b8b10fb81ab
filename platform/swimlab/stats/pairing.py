"""Which trials may be compared with each other, and what makes a table MIXED.

The rule: a difference between two trials tells of what their recipes differ in only where all else was equal. So two
trials are compared, and paired, when

1. their numerics classes are equal in every field; a field that only one of them has is a difference;
2. where their recipes state the same start, their `start_weights` are equal. The same start is the same trial to start
   from (`init_trial_id`) and the same `model`, and with LoRA adapters, which are drawn from the seed, the same seed.

Recipes that state different starts (an arm that overrides `model.*` or `init`, worlds with a base of their own) are
compared whatever their weights: there the start is what the arm changes. An arm of 0 steps, another data fraction or
objective and tuned values state the start of their table.

Records older than these fields do not say their processor or their start. Among each other they are compared as they
always were, and the page says what is not known of them; with a record that has the fields they are not compared.

A table of which two trials may not be compared is MIXED: it shows its numbers, pairs only what may be paired, and gives
no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "not recorded"
DIGITS = 12
# Fields of a model that change nothing about its weights.
_NO_WEIGHTS = ("model.gradient_checkpointing",)


@dataclass(frozen=True)
class Origin:
    """Where a trial's numbers come from: numerics class, the start that its recipe states, and the weights it was."""

    numerics: tuple[tuple[str, Any], ...]
    stated: tuple[tuple[str, Any], ...]
    weights: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Origin:
        """Out of a trial's flat row (`swimlab.store.flat_rows.trial_row`)."""

        def fields(prefix: str) -> dict[str, Any]:
            return {k: v for k, v in row.items() if k.startswith(prefix) and v is not None}

        model = {k: v for k, v in fields("model.").items() if k not in _NO_WEIGHTS}
        stated = model | {"init_trial_id": row.get("init_trial_id")}
        if fields("model.lora."):
            stated["seed"] = row["seed"]
        numerics = {k.removeprefix("numerics."): v for k, v in fields("numerics.").items()}
        return cls(tuple(sorted(numerics.items())), tuple(sorted(stated.items())), row.get("start_weights"))


@dataclass(frozen=True)
class Group:
    """Trials of a mixed table that agree in what sets them apart from its other trials; `label` states it."""

    label: str
    trial_ids: tuple[str, ...]


def comparable(origins: Iterable[Origin]) -> bool:
    """May all of these be compared with each other?"""
    distinct = set(origins)
    return len({o.numerics for o in distinct}) < 2 and len({(o.stated, o.weights) for o in distinct}) == len(
        {o.stated for o in distinct}
    )


def mixture(origins: Mapping[str, Origin]) -> tuple[Group, ...]:
    """What a table's trials (trial id → origin) are mixed of; empty where all may be compared."""
    if comparable(origins.values()):
        return ()
    classes = _by(origins, lambda o: o.numerics)
    varying = [name for name in _names(classes) if len({dict(c).get(name) for c in classes}) > 1]
    groups = [
        Group(", ".join(f"{name} {dict(c).get(name, UNKNOWN)}" for name in varying), ids) for c, ids in classes.items()
    ]
    groups = groups if varying else []
    for ids in _by(origins, lambda o: o.stated).values():
        weights = _by({i: origins[i] for i in ids}, lambda o: o.weights)
        if len(weights) > 1:
            groups += [Group(f"start weights {(w or UNKNOWN)[:DIGITS]}", same) for w, same in weights.items()]
    return tuple(groups)


def _by(origins: Mapping[str, Origin], key: Callable[[Origin], Any]) -> dict[Any, tuple[str, ...]]:
    groups: dict[Hashable, tuple[str, ...]] = {}
    for trial_id, origin in origins.items():
        groups[key(origin)] = (*groups.get(key(origin), ()), trial_id)
    return groups


def _names(classes: Iterable[Iterable[tuple[str, Any]]]) -> list[str]:
    return list(dict.fromkeys(name for numerics in classes for name, _ in numerics))


def mixed_of(groups: Iterable[Group]) -> str:
    """The groups in a line: what sets them apart, and how many trials each has."""
    return "; ".join(f"{g.label}: {len(g.trial_ids)} trial{'s' * (len(g.trial_ids) != 1)}" for g in groups)
