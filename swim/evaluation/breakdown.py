"""Answers by the size of the object asked about, and beside whether the model looked at it. Imports no torch.

Below the family of an answer metric: `cells`, the size of the object in visual tokens of a frame, of several objects
that of the smallest; `on_object`, whether the attention of every tagged noun has its peak on its object, as of the
question that was answered; `right`, whether the answer counts as right. Each is a row for every answer that has it, so
that any metric of the same answers can be grouped by it, and a mean. Further metrics:

`answers.<size class>`, the number of answers of a class, and `<primary>.<size class>`, their mean of the primary metric
where there are any; `on_object.right`, `on_object.wrong`, `off_object.right` and `off_object.wrong`, the answers of the
2 × 2. Neither where no answer has the fact.

That a model answers right more often where it looks at the object does not say that it answers so because it looks:
objects that are easy to find are also easy to describe. The suite `mediation` asks that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from swim.outputs import Answer, SampleScore

SIZE_CLASSES = {"cells_under_4": "under 4 tokens", "cells_4_to_32": "4 to 32 tokens", "cells_over_32": "over 32 tokens"}
GRADED_RIGHT = 4.0
"""The grade, of 5, from which a graded answer counts as right."""

Turn = tuple[str, int]
"""(key of the clip, number of the turn)"""


@dataclass(frozen=True)
class Scored:
    """The answer to one turn: its values of the primary metric, which are averaged over all answers, and whether it is
    right. `cells` and `on_object` as above, None where they are not known."""

    turn: Turn
    values: Sequence[float]
    right: bool
    cells: float | None
    on_object: bool | None

    @classmethod
    def of(
        cls, turn: Turn, values: Sequence[float], right: bool, cells: Sequence[float], pointing: Sequence[float]
    ) -> Self:
        """`cells` and `pointing` of each object, as in `swim.outputs.Answer`."""
        return cls(turn, values, right, min(cells, default=None), all(p == 1.0 for p in pointing) if pointing else None)


def size_class(cells: float) -> str:
    """The class of a size in visual tokens."""
    return "cells_under_4" if cells < 4 else "cells_4_to_32" if cells <= 32 else "cells_over_32"


@dataclass(frozen=True)
class Breakdown:
    """Metrics and rows of a breakdown."""

    metrics: dict[str, float]
    rows: Sequence[SampleScore]


def of_a_class(metric: str) -> bool:
    """Whether a metric is of the answers of one class, by its name: a number or a mean."""
    return ".cells_" in metric or ".on_object." in metric or ".off_object." in metric


def of_answers(
    family: str, metric: str, rows: Iterable[SampleScore], answers: Iterable[Answer], right: float
) -> Breakdown:
    """The breakdown of one metric of answers, of which a value from `right` on is right. `rows` may hold others."""
    by_turn = {(answer.key, answer.turn): answer for answer in answers}
    scored = []
    for row in rows:
        if row.metric == f"{family}.{metric}":
            turn = row.key, row.turn
            answer = by_turn[turn]
            scored.append(Scored.of(turn, [row.value], row.value >= right, answer.cells, answer.pointing))
    return breakdown(family, metric, scored)


def breakdown(family: str, primary: str, scored: Sequence[Scored]) -> Breakdown:
    """See the module."""
    rows, values = [], defaultdict[str, list[float]](list)
    by_class, counts = defaultdict[str, list[float]](list), Counter[str]()
    if any(item.cells is not None for item in scored):
        counts.update(dict.fromkeys((f"answers.{name}" for name in SIZE_CLASSES), 0))
    if any(item.on_object is not None for item in scored):
        counts.update(dict.fromkeys((_quadrant(look, right) for look in (True, False) for right in (True, False)), 0))
    for item in scored:
        key, number = item.turn
        facts = {"cells": item.cells, "on_object": item.on_object, "right": item.right}
        for name, value in facts.items():
            if value is not None:
                values[name].append(float(value))
                metric = f"{family}.{name}"
                rows.append(SampleScore(key=key, turn=number, tag=-1, noun="", metric=metric, value=float(value)))
        if item.cells is not None:
            by_class[size_class(item.cells)] += item.values
            counts[f"answers.{size_class(item.cells)}"] += 1
        if item.on_object is not None:
            counts[_quadrant(item.on_object, item.right)] += 1
    metrics = {name: float(np.mean(of_name)) for name, of_name in values.items()}
    metrics |= {f"{primary}.{name}": float(np.mean(of_class)) for name, of_class in by_class.items()}
    metrics |= {name: float(count) for name, count in counts.items()}
    return Breakdown({f"{family}.{name}": value for name, value in metrics.items()}, rows)


def _quadrant(on_object: bool, right: bool) -> str:
    return f"{'on' if on_object else 'off'}_object.{'right' if right else 'wrong'}"
