"""VideoRefer-Bench-D: descriptions graded by a language model (`swim.evaluation.judging`), from 0 to 5.

`bench_d.sc`, `.ad`, `.td` and `.hd` are means over the graded answers, `bench_d.avg` the mean of the four, with
`avg_low` and `avg_high`, the ends of a 95 % interval clustered by video. `bench_d.asked` = `.parsed` + `.unparsed` +
`.refused` + `.failed`; `.reasked` counts answers that took more than one reply, and `.other_references` rows whose
conversation has another answer than the caption, which is the reference. Where more than `most_missing` of the
answers have no grade the suite is UNDECIDED: `bench_d.undecided` is 1 and there is no mean, since nobody knows what the
missing ones would have got.

`bench_d_released.*` (form "text" only) is the first reply as the released rule reads it: each axis over the rows that
have it (`_rows`), `avg` the mean of the four means.

Another judge is another evaluation: their scores are never pooled, and a table names the judge beside the metric.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from swim.evaluation.clustered import clustered_mean
from swim.evaluation.grading import Grade, counts, grade
from swim.evaluation.judging import AXES, BEST, Form, Scores
from swim.evaluation.scoring import Ask, Asked
from swim.frozen import Frozen
from swim.outputs import Evaluated, SampleScore

FAMILIES = ("bench_d.", "bench_d_released.")
JUDGED = True


class Config(Frozen):
    """`form` of the reply (see `swim.evaluation.judging`); `reasks`: how often an unusable reply is asked for again;
    `most_missing`: the share of answers without a grade up to which a mean is given."""

    form: Form = "text"
    reasks: int = Field(2, ge=0)
    most_missing: float = Field(0.02, ge=0, le=1)


def score(config: Config, asked: Sequence[Asked], ask: Ask) -> Evaluated:
    """Asks for a grade of each answer. Raises ValueError where nothing was asked."""
    if not asked:
        raise ValueError("there are no answers to score")
    grades = grade(asked, ask, config.form, config.reasks)
    numbers = {f"bench_d.{name}": float(count) for name, count in counts(grades).items()}
    numbers["bench_d.other_references"] = float(sum(item.sample.reference_differs for item in asked))
    numbers["bench_d.reasked"] = float(sum(item.replies > 1 for item in grades))
    graded = [(item, item.scores) for item in grades if item.scores is not None]
    undecided = not graded or len(grades) - len(graded) > config.most_missing * len(grades)
    numbers["bench_d.undecided"] = float(undecided)
    if not undecided:
        numbers |= _means(graded)
    if config.form == "text":
        numbers |= _released(grades)
    return Evaluated(numbers, [row for item, scores in graded for row in _rows(item.asked, scores)], [])


def _means(graded: Sequence[tuple[Grade, Scores]]) -> dict[str, float]:
    means = {f"bench_d.{axis}": float(np.mean([scores[axis] for _, scores in graded])) for axis in AXES}
    averages = [_average(scores) for _, scores in graded]
    overall = clustered_mean(averages, [item.asked.sample.video for item, _ in graded])
    means["bench_d.avg"] = overall.mean
    if overall.low is not None and overall.high is not None:
        means |= {"bench_d.avg_low": max(0.0, overall.low), "bench_d.avg_high": min(float(BEST), overall.high)}
    return means


def _released(grades: Sequence[Grade]) -> dict[str, float]:
    """Nothing for an axis that no row has, and then no average: the script divides by zero there."""
    numbers: dict[str, float] = {}
    for axis in AXES:
        values = [item.released[axis] for item in grades if item.released and axis in item.released]
        numbers[f"bench_d_released.{axis}_rows"] = float(len(values))
        if values:
            numbers[f"bench_d_released.{axis}"] = float(np.mean(values))
    means = [numbers.get(f"bench_d_released.{axis}") for axis in AXES]
    if None not in means:
        numbers["bench_d_released.avg"] = float(np.mean(np.asarray(means, float)))
    return numbers


def _rows(asked: Asked, scores: Scores) -> list[SampleScore]:
    where = {"key": asked.answer.key, "turn": asked.answer.turn, "tag": -1, "noun": ""}
    named = {**{axis: float(value) for axis, value in scores.items()}, "avg": _average(scores)}
    return [SampleScore(**where, metric=f"bench_d.{name}", value=value) for name, value in named.items()]


def _average(scores: Scores) -> float:
    return sum(scores.values()) / len(AXES)
