"""Scores of answers by the size of the object, by where the model looked, and by what the question told: small tables
from the rows of evaluations (`swim.evaluation.breakdown`, `swim.evaluation.leak`)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from swim.evaluation.breakdown import SIZE_CLASSES, size_class
from swim.evaluation.clustered import clustered_difference
from swimlab.report.grids import Grid
from swimlab.report.number_format import NO_VALUE, as_printed

LEAK_CLASSES = ("nothing", "up to a quarter", "up to a half", "over a half")

Turn = tuple[str, int]
"""(key of the clip, number of the turn)"""
Rows = Mapping[str, Mapping[Turn, float]]
"""metric → turn → value, of the answers of one model"""


@dataclass(frozen=True)
class Answers:
    """What is broken down: arm → the rows of each of its models. `metric` is the primary one; `videos`: turn → its
    video; `digits` of a printed score."""

    metric: str
    arms: Mapping[str, Sequence[Rows]]
    videos: Mapping[Turn, Hashable]
    digits: int = 2

    def of(self, arm: str, name: str) -> list[Mapping[Turn, float]]:
        """The rows of a metric beside the primary one, of each model of an arm."""
        return [rows.get(f"{self.metric.partition('.')[0]}.{name}", {}) for rows in self.arms[arm]]

    def scores(self, arm: str) -> list[Mapping[Turn, float]]:
        """The primary metric of each answer, of each model of an arm."""
        return [rows.get(self.metric, {}) for rows in self.arms[arm]]


def breakdowns(answers: Answers) -> list[Grid]:
    """By size, by look and by leak, each where there are rows for it."""
    return [*by_size(answers), *by_look(answers), *by_leak(answers)]


def look_of(on_object: bool, right: bool) -> str:
    """The cell of the 2 × 2 in words."""
    return f"{'at it' if on_object else 'elsewhere'}, {'right' if right else 'wrong'}"


def by_size(answers: Answers) -> list[Grid]:
    """The size of an object is the same for all models of one grid, so that a served model, which does not tell it, is
    broken down by the sizes of the others."""
    sizes = {turn: cells for arm in answers.arms for rows in answers.of(arm, "cells") for turn, cells in rows.items()}
    classes = {turn: SIZE_CLASSES[size_class(cells)] for turn, cells in sizes.items()}
    return _by_class(answers, "by the size of the object", list(SIZE_CLASSES.values()), classes)


def by_leak(answers: Answers) -> list[Grid]:
    """By the share of the reference's words that stand in the question; where arms ask in several ways, in the wording
    that tells most, so that a column has the same rows in every arm."""
    shares: dict[Turn, float] = {}
    for arm in answers.arms:
        for rows in answers.of(arm, "leak"):
            for turn, share in rows.items():
                shares[turn] = max(share, shares.get(turn, 0.0))
    classes = {turn: _leak_class(share) for turn, share in shares.items()}
    return _by_class(answers, "by how much of the reference the question tells", list(LEAK_CLASSES), classes)


def by_look(answers: Answers) -> list[Grid]:
    """The 2 × 2 of looking at the object and answering right, and how much more often an answer is right where the
    model looks at the object, with an interval over videos."""
    quadrants = [look_of(look, right) for look in (True, False) for right in (True, False)]
    heads = ["model", *quadrants, "right where at it (%)", "right where elsewhere (%)", "difference"]
    cells = []
    for arm in answers.arms:
        sides: dict[bool, list[tuple[float, Hashable]]] = {True: [], False: []}
        for looks, rights in zip(answers.of(arm, "on_object"), answers.of(arm, "right"), strict=True):
            for turn, look in looks.items():
                if turn in rights:
                    sides[bool(look)].append((100.0 * rights[turn], answers.videos[turn]))
        if any(sides.values()):
            cells.append([arm, *_quadrants(sides)])
    return [("Attention × answer: does the question's noun look at its object?", heads, cells)] if cells else []


def _quadrants(sides: Mapping[bool, Sequence[tuple[float, Hashable]]]) -> list[str]:
    right = {look: sum(value > 0 for value, _ in side) for look, side in sides.items()}
    counts = [str(n) for look in (True, False) for n in (right[look], len(sides[look]) - right[look])]
    shares = [as_printed(100.0 * right[look] / len(sides[look]) if sides[look] else None, 1) for look in (True, False)]
    if not (sides[True] and sides[False]):
        return [*counts, *shares, NO_VALUE]
    gap = clustered_difference(sides[True], sides[False])
    ends = "" if gap.low is None or gap.high is None else f" [{as_printed(gap.low, 1)}, {as_printed(gap.high, 1)}]"
    return [*counts, *shares, f"{gap.mean:+.1f}".replace("-", "−") + ends]


def _by_class(answers: Answers, title: str, names: Sequence[str], classes: Mapping[Turn, str]) -> list[Grid]:
    """A row an arm, a column a class: the mean score and the number of answers."""
    rows = []
    for arm in answers.arms:
        values: dict[str, list[float]] = {name: [] for name in names}
        for scores in answers.scores(arm):
            for turn, value in scores.items():
                if turn in classes:
                    values[classes[turn]].append(value)
        if any(values.values()):
            rows.append([arm, *(_mean(of_class, answers.digits) for of_class in values.values())])
    return [(f"{answers.metric} {title}: mean (answers)", ["model", *names], rows)] if rows else []


def _mean(values: Sequence[float], digits: int) -> str:
    return f"{as_printed(sum(values) / len(values), digits)} ({len(values)})" if values else NO_VALUE


def _leak_class(share: float) -> str:
    return LEAK_CLASSES[0 if share == 0 else 1 if share <= 0.25 else 2 if share <= 0.5 else 3]
