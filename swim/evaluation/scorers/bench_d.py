"""VideoRefer-Bench-D: descriptions graded by a language model (`swim.evaluation.judging`), from 0 to 5.

`bench_d.sc`, `.ad`, `.td` and `.hd` are means over the graded answers, `bench_d.avg` the mean of the four, with
`avg_low` and `avg_high`, the ends of a 95 % interval clustered by video. `bench_d.asked` = `.parsed` + `.unparsed` +
`.refused` + `.failed`; `.reasked` counts grades that took more than one reply, and `.other_references` rows whose
conversation has another answer than the caption, which is the reference. Where more than `most_missing` of the
answers have no grade the suite is UNDECIDED: `bench_d.undecided` is 1 and there is no mean, since nobody knows what the
missing ones would have got.

With `repeats` each answer is graded so often, and its grade is the mean: the counts are of all gradings, and
`bench_d.repeat_sd` is the standard deviation of one judge's grades (of `avg`) of one answer.

`bench_d.leak` is the share of the reference that the question told already (`swim.evaluation.leak`);
`swim.evaluation.breakdown` says what else there is, by the size of the object and by where the model looked.

`bench_d_released.*` (form "text" only) is the first reply of the first grading as the released rule reads it: each axis
over the rows that have it (`_rows`), `avg` the mean of the four means.

Another judge is another evaluation: their scores are never pooled, and a table names the judge beside the metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from swim.data.annotations.markup import strip_tags
from swim.evaluation import breakdown
from swim.evaluation.clustered import clustered_mean
from swim.evaluation.grading import Grade, counts, grade
from swim.evaluation.judging import AXES, BEST, Form, Scores
from swim.evaluation.leak import leak_share
from swim.evaluation.scoring import Ask, Asked
from swim.frozen import Frozen
from swim.outputs import Evaluated, SampleScore

FAMILIES = ("bench_d.", "bench_d_released.")
JUDGED = True


class Config(Frozen):
    """`form` of the reply (see `swim.evaluation.judging`); `reasks`: how often an unusable reply is asked for again;
    `repeats`: how often each answer is graded; `most_missing`: the share of answers without a grade up to which a mean
    is given."""

    form: Form = "text"
    reasks: int = Field(2, ge=0)
    repeats: int = Field(1, ge=1)
    most_missing: float = Field(0.02, ge=0, le=1)


def score(config: Config, asked: Sequence[Asked], ask: Ask) -> Evaluated:
    """Asks for grades of each answer. Raises ValueError where nothing was asked."""
    if not asked:
        raise ValueError("there are no answers to score")
    repeats = [grade(asked, ask, config.form, config.reasks, repeat) for repeat in range(config.repeats)]
    every = [item for of_repeat in repeats for item in of_repeat]
    numbers = {f"bench_d.{name}": float(count) for name, count in counts(every).items()}
    numbers["bench_d.other_references"] = float(sum(item.sample.reference_differs for item in asked))
    numbers["bench_d.reasked"] = float(sum(item.replies > 1 for item in every))
    graded = [
        (item, scores)
        for item, *of_item in zip(asked, *repeats, strict=True)
        if (scores := [g.scores for g in of_item if g.scores is not None])
    ]
    undecided = not graded or len(asked) - len(graded) > config.most_missing * len(asked)
    numbers["bench_d.undecided"] = float(undecided)
    rows = [row for item, scores in graded for row in _rows(item, scores)]
    details = breakdown.of_answers("bench_d", "avg", rows, (item.answer for item in asked), breakdown.GRADED_RIGHT)
    leaks = _leaks(asked)
    if leaks:
        numbers["bench_d.leak"] = float(np.mean([row.value for row in leaks]))
    if not undecided:
        numbers |= _means(graded) | details.metrics
    if config.form == "text":
        numbers |= _released(repeats[0])
    return Evaluated(numbers, [*rows, *details.rows, *leaks], [])


def _means(graded: Sequence[tuple[Asked, Sequence[Scores]]]) -> dict[str, float]:
    means = {f"bench_d.{axis}": float(np.mean([_mean(scores, axis) for _, scores in graded])) for axis in AXES}
    averages = [_average(scores) for _, scores in graded]
    overall = clustered_mean(averages, [item.sample.video for item, _ in graded])
    means["bench_d.avg"] = overall.mean
    if overall.low is not None and overall.high is not None:
        means |= {"bench_d.avg_low": max(0.0, overall.low), "bench_d.avg_high": min(float(BEST), overall.high)}
    if spreads := [np.var([_average([one]) for one in scores], ddof=1) for _, scores in graded if len(scores) > 1]:
        means["bench_d.repeat_sd"] = float(np.sqrt(np.mean(spreads)))
    return means


def _leaks(asked: Sequence[Asked]) -> list[SampleScore]:
    """A row for each answer whose reference has content words beside the noun that is asked about."""
    rows = []
    for item in asked:
        nouns = [span.text for span in strip_tags(item.turn.human)[1]]
        share = leak_share(item.answer.question, strip_tags(item.turn.gpt)[0], nouns)
        if share is not None:
            rows.append(SampleScore(**_where(item), metric="bench_d.leak", value=share))
    return rows


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


def _rows(asked: Asked, scores: Sequence[Scores]) -> list[SampleScore]:
    named = {axis: _mean(scores, axis) for axis in AXES} | {"avg": _average(scores)}
    return [SampleScore(**_where(asked), metric=f"bench_d.{name}", value=value) for name, value in named.items()]


def _where(asked: Asked) -> dict[str, Any]:
    return {"key": asked.answer.key, "turn": asked.answer.turn, "tag": -1, "noun": ""}


def _mean(scores: Sequence[Scores], axis: str) -> float:
    return sum(of_repeat[axis] for of_repeat in scores) / len(scores)


def _average(scores: Sequence[Scores]) -> float:
    return sum(_mean(scores, axis) for axis in AXES) / len(AXES)
