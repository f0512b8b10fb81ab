"""Which trials may be compared with each other, and what makes a table MIXED.

A difference between two trials can be attributed to their recipes only when everything else was equal. So two trials
are compared, and paired, when

1. their numerics classes are equal in every field; a field that only one of them has is a difference;
2. where their recipes state the same start, their `start_weights` are equal. The same start is the same trial to start
   from (`init_trial_id`) and the same `model`, and with LoRA adapters, which are drawn from the seed, the same seed.

Recipes that state different starts (an arm that overrides `model.*` or `init`, worlds with their own base) are
compared whatever their weights: there the start is what the arm changes. An arm with 0 steps, another data fraction or
objective, or tuned values has the same start as its table.

Where the seeds of a table are worlds (`swim.worlds`), differences are taken within a world and never between two, so
that only trials of one world must be comparable: worlds may have been made on different machines.

Records older than these fields state neither processor nor start. They are compared with each other, and the page says
what is not recorded; they are not compared with records that have the fields.

A table of which two trials may not be compared is MIXED: it shows its numbers, pairs only what may be paired, and gives
no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from swim.worlds import Replicate

UNKNOWN = "not recorded"
DIGITS = 12
# Fields of a model that do not change its weights.
_NO_WEIGHTS = ("model.gradient_checkpointing",)


@dataclass(frozen=True)
class Origin:
    """What makes trials comparable: numerics class, the start that the recipe states, and its actual weights."""

    numerics: tuple[tuple[str, Any], ...]
    stated: tuple[tuple[str, Any], ...]
    weights: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Origin:
        """From a trial's flat row (`swimlab.store.flat_rows.trial_row`)."""

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
    """Whether all of these may be compared with each other."""
    distinct = set(origins)
    return len({o.numerics for o in distinct}) < 2 and len({(o.stated, o.weights) for o in distinct}) == len(
        {o.stated for o in distinct}
    )


def table_mixture(by_seed: Mapping[int, Mapping[str, Origin]], replicate: Replicate) -> tuple[Group, ...]:
    """The groups of a mixed table (seed → trial id → origin); empty when all that it compares may be compared. Worlds
    need not be of one numerics class, but of one judge."""
    everything = {trial_id: origin for origins in by_seed.values() for trial_id, origin in origins.items()}
    if replicate == "order":
        return mixture(everything)
    if judges := _judges(everything):
        return judges
    return tuple(
        Group(f"seed {seed}, {group.label}", group.trial_ids)
        for seed, origins in sorted(by_seed.items())
        for group in mixture(origins)
    )


def classes(origins: Mapping[str, Origin]) -> tuple[Group, ...]:
    """The trials of each numerics class, labelled by what the classes differ in; one group where all are of one."""
    by_class = _by(origins, lambda o: o.numerics)
    varying = [name for name in _names(by_class) if len({dict(c).get(name) for c in by_class}) > 1]
    return tuple(
        Group(", ".join(f"{name} {dict(c).get(name, UNKNOWN)}" for name in varying), ids) for c, ids in by_class.items()
    )


def mixture(origins: Mapping[str, Origin]) -> tuple[Group, ...]:
    """The groups of a mixed table (trial id → origin); empty when all its trials may be compared."""
    if comparable(origins.values()):
        return ()
    groups = [group for group in classes(origins) if group.label]
    for ids in _by(origins, lambda o: o.stated).values():
        weights = _by({i: origins[i] for i in ids}, lambda o: o.weights)
        if len(weights) > 1:
            groups += [Group(f"start weights {(w or UNKNOWN)[:DIGITS]}", same) for w, same in weights.items()]
    return tuple(groups)


def _judges(origins: Mapping[str, Origin]) -> tuple[Group, ...]:
    """The trials by whoever judged their answers, for evaluations that had several judges."""
    judged: dict[str, dict[str, Origin]] = {}
    for trial_id, origin in origins.items():
        for name, judge in origin.numerics:
            if name.endswith(": judge"):
                judged.setdefault(name, {})[trial_id] = Origin(((name, judge),), (), None)
    return tuple(group for of_evaluation in judged.values() for group in mixture(of_evaluation))


def _by(origins: Mapping[str, Origin], key: Callable[[Origin], Any]) -> dict[Any, tuple[str, ...]]:
    groups: dict[Hashable, tuple[str, ...]] = {}
    for trial_id, origin in origins.items():
        groups[key(origin)] = (*groups.get(key(origin), ()), trial_id)
    return groups


def _names(classes: Iterable[Iterable[tuple[str, Any]]]) -> list[str]:
    return list(dict.fromkeys(name for numerics in classes for name, _ in numerics))


def mixed_of(groups: Iterable[Group]) -> str:
    """The groups in one line: label and number of trials of each."""
    return "; ".join(f"{g.label}: {len(g.trial_ids)} trial{'s' * (len(g.trial_ids) != 1)}" for g in groups)
