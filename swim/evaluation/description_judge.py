"""A judge of descriptions of the embedded data set that needs no language model, since it knows what is true.

It scores the four axes of VideoRefer-Bench-D, each from 0 to 5, by the words of the data set's vocabulary: what an
answer says of nouns, sizes, patterns and motions, in whatever sentence; or, where one word is asked for, whether it is
right. Imports no torch.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from swim.data.annotations.markup import strip_tags
from swim.data.synthetic.vocabulary import NOUNS, VALUES
from swim.data.types import Turn
from swim.evaluation import breakdown
from swim.evaluation.answer_ceiling import guesses
from swim.outputs import Answer, SampleScore

AXES = ("subject", "appearance", "temporal", "hallucination")
BEST = 5.0
_PROPERTY = {word: name for name, words in ({"noun": tuple(NOUNS)} | dict(VALUES)).items() for word in words}
_APPEARANCE, _TEMPORAL = ("size", "pattern"), ("motion",)

Axes = dict[str, float]


def can_judge(turn: Turn) -> bool:
    """Whether a turn asks for one object of the embedded data set, and its answer says how that looks and moves or is
    one word of that."""
    tags = strip_tags(turn.human)[1]
    names = {slot.name for slot in turn.slots}
    describes = bool(names & set(_APPEARANCE)) and names >= set(_TEMPORAL)
    return len(tags) == 1 and tags[0].text in NOUNS and (describes or _is_word(turn))


def _is_word(turn: Turn) -> bool:
    """Whether the whole answer is one word of the vocabulary's."""
    return [turn.word_at(slot) for slot in turn.slots if slot.name in VALUES] == [turn.gpt]


def judge(text: str, turn: Turn) -> Axes:
    """The scores of an answer to a turn that `can_judge` accepts.

    `subject`: 5 when the first noun is the one asked about, else 0. `appearance` and `temporal`: 5 times the share of
    its sizes and patterns, or motions, that are right; of two values the first counts, and none is wrong.
    `hallucination` (5: none): 5 times the share of different statements that are true of the object asked about; an
    answer that states nothing has 0. Their mean is `avg`.

    Where a turn asks for one word there is only `avg`: 5 when the first word of that kind is right, else 0.
    """
    truth = _truth(turn)
    said = list(dict.fromkeys((_PROPERTY[w], w) for w in re.findall(r"[a-z]+", text.lower()) if w in _PROPERTY))
    first: dict[str, str] = {}
    for name, word in said:
        first.setdefault(name, word)
    right = {slot.name: first.get(slot.name) == truth[slot.name] for slot in turn.slots}
    if _is_word(turn):
        return _word_axes(right)
    true = sum(truth.get(name) == word for name, word in said)
    return _axes(first.get("noun") == truth["noun"], right, true / len(said) if said else 0.0)


def ceiling(turns: Sequence[Turn], number: int) -> Axes:
    """The scores of naming the noun of a clip's turn and answering with the clip's commonest values: reached without a
    look at the object asked about (`swim.evaluation.answer_ceiling`)."""
    flat = iter(guesses(turns))
    right = [{slot.name: next(flat) for slot in turn.slots} for turn in turns][number]
    if _is_word(turns[number]):
        return _word_axes(right)
    given = len(_truth(turns[number])) - len(right)  # the noun, and what else the question tells
    return _axes(True, right, (given + sum(right.values())) / (given + len(right)))


def judged(answer: Answer, turns: Sequence[Turn]) -> list[SampleScore]:
    """The scores of one answer about a clip, and its ceilings."""
    turn = turns[answer.turn]
    where = {"key": answer.key, "turn": answer.turn, "tag": -1, "noun": strip_tags(turn.human)[1][0].text}
    axes = judge(answer.text, turn) | {f"ceiling.{axis}": value for axis, value in ceiling(turns, answer.turn).items()}
    return [SampleScore(**where, metric=f"described.{name}", value=value) for name, value in axes.items()]


def scored(answers: Sequence[tuple[Answer, Sequence[Turn]]]) -> tuple[dict[str, float], list[SampleScore]]:
    """Metrics and rows of answers, each with the turns of its clip: means over answers, their number, the share of
    those that did not come to an end, and the breakdown of their mean score."""
    rows = [row for answer, turns in answers for row in judged(answer, turns)]
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        values[row.metric].append(row.value)
    means = {metric: float(np.mean(of_metric)) for metric, of_metric in sorted(values.items())}
    if answers:
        means["described.unfinished"] = sum(answer.finish == "limit" for answer, _ in answers) / len(answers)
    means["described.answers"] = float(len(answers))
    details = breakdown.of_answers("described", "avg", rows, (answer for answer, _ in answers), breakdown.GRADED_RIGHT)
    return means | details.metrics, [*rows, *details.rows]


def _word_axes(right: dict[str, bool]) -> Axes:
    return {"avg": BEST * all(right.values())}


def _axes(subject: bool, right: dict[str, bool], true: float) -> Axes:
    def share(names: Sequence[str]) -> float:
        values = [right[name] for name in names if name in right]
        return sum(values) / len(values)

    shares = (float(subject), share(_APPEARANCE), share(_TEMPORAL), true)
    scores = {axis: BEST * value for axis, value in zip(AXES, shares, strict=True)}
    return scores | {"avg": sum(scores.values()) / len(scores)}


def _truth(turn: Turn) -> dict[str, str]:
    """Of the object asked about: its noun, what the question tells, and what the answer has to say."""
    question, (tag,) = strip_tags(turn.human)
    told = {name: word for name, words in VALUES.items() for word in words if re.search(rf"\b{word}\b", question)}
    return {"noun": tag.text, **told, **{slot.name: turn.word_at(slot) for slot in turn.slots}}
