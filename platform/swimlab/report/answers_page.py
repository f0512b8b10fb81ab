"""Every answer of an evaluation on one page: hardest first, beside what the annotations say, with filters; above them
the scores by the size of the object, by where the model looked and by what the question told."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from swim.data.annotations.markup import strip_tags
from swim.evaluation.breakdown import SIZE_CLASSES, size_class
from swim.evaluation.scoring import Asked
from swim.outputs import Answer, SampleScore
from swimlab.base.printable import printable
from swimlab.report import html
from swimlab.report.answer_breakdown import Answers, Turn, breakdowns, look_of

_MODEL = "this model"
_RIGHT = re.compile(r"(\w+)\.right( by .*)?", re.DOTALL)


@dataclass(frozen=True)
class ShownAnswer:
    """An answer beside the annotated one, plain text; "" where the annotations were not kept, as of a drawn data set.
    `question_type` is that of a benchmark's row."""

    answer: Answer
    reference: str = ""
    video: str = ""
    question_type: str = ""

    @classmethod
    def of(cls, asked: Asked) -> Self:
        """An answer to a row that is there."""
        reference = strip_tags(asked.turn.gpt)[0]
        return cls(asked.answer, reference, asked.sample.video, asked.sample.question_type)


def render_answers(
    title: str,
    facts: Mapping[str, str],
    answers: Sequence[ShownAnswer],
    scores: Sequence[SampleScore],
    primary: str | None,
) -> str:
    """The page of an evaluation.

    Args:
        title: its heading.
        facts: what else is said of the evaluation, name → value.
        answers: all answers.
        scores: their scores; several of a row and metric, of nouns or slots, are averaged.
        primary: the metric that it is sorted by at first; None: the first in the order of the alphabet.

    Raises:
        ValueError: for a primary metric that no row has.
    """
    by_turn = _by_turn(scores)
    metrics = sorted({name for values in by_turn.values() for name in values})
    if primary is not None and primary not in metrics:
        raise ValueError(f"no answer has a score {primary!r}; they have {', '.join(metrics) or 'none'}")
    first = primary or (metrics[0] if metrics else "")
    broken = _broken_down(by_turn, answers)
    rows = [_row(shown, by_turn.get((shown.answer.key, shown.answer.turn), {}), metrics) for shown in answers]
    for row, shown in zip(rows, answers, strict=True):
        row |= _kind(broken, (shown.answer.key, shown.answer.turn))
    referenced = any(shown.reference for shown in answers)
    data = {"rows": rows, "metrics": metrics, "primary": first, "referenced": referenced}
    tables = breakdowns(broken) if broken else []
    return html.render("answers.html.j2", title=title, facts=facts, data=data, tables=tables)


def _by_turn(scores: Sequence[SampleScore]) -> dict[Turn, dict[str, float]]:
    values: dict[Turn, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for score in scores:
        values[score.key, score.turn][score.metric].append(score.value)
    return {turn: {name: sum(of) / len(of) for name, of in metrics.items()} for turn, metrics in values.items()}


def _broken_down(by_turn: Mapping[Turn, Mapping[str, float]], answers: Sequence[ShownAnswer]) -> Answers | None:
    """The scores of an evaluation whose answers are right or wrong (`swim.evaluation.breakdown`); None of another."""
    families = {match.groups() for values in by_turn.values() for name in values if (match := _RIGHT.fullmatch(name))}
    if len(families) != 1:
        return None
    ((family, judge),) = families
    rows: dict[str, dict[Turn, float]] = defaultdict(dict)
    for turn, values in by_turn.items():
        for name, value in values.items():
            rows[name.removesuffix(judge or "")][turn] = value
    videos = {(shown.answer.key, shown.answer.turn): shown.video or shown.answer.key for shown in answers}
    return Answers(f"{family}.avg", {_MODEL: [rows]}, videos)


def _kind(broken: Answers | None, turn: Turn) -> dict[str, str]:
    """The size of an answer's object and whether it was looked at, as the filters of the page have them."""
    if broken is None:
        return {"size": "", "look": ""}
    ((cells,), (look,), (right,)) = (broken.of(_MODEL, name) for name in ("cells", "on_object", "right"))
    return {
        "size": SIZE_CLASSES[size_class(cells[turn])] if turn in cells else "",
        "look": look_of(bool(look[turn]), bool(right[turn])) if turn in look and turn in right else "",
    }


def _row(shown: ShownAnswer, values: Mapping[str, float], metrics: Sequence[str]) -> dict[str, Any]:
    said = shown.answer
    texts = {
        "key": said.key,
        "video": shown.video,
        "question": said.question,
        "answer": said.text,
        "reference": shown.reference,
        "type": shown.question_type,
        "finish": said.finish,
        "failure": said.failure,
    }
    row: dict[str, Any] = {name: printable(text) for name, text in texts.items()}
    return row | {"scores": [values.get(metric) for metric in metrics]}
