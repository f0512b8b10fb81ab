"""Answers about rows of the embedded data set, scored by a judge that knows the truth
(`swim.evaluation.suites.described` defines the metrics)."""

from __future__ import annotations

from collections.abc import Sequence

from swim.evaluation.description_judge import can_judge, scored
from swim.evaluation.scoring import Ask, Asked
from swim.frozen import Frozen
from swim.outputs import Evaluated

FAMILIES = ("described.",)
JUDGED = False


class Config(Frozen):
    """Nothing can be chosen."""


def score(config: Config, asked: Sequence[Asked], ask: Ask) -> Evaluated:
    """Scores the answers to turns that can be judged."""
    return Evaluated(*scored([(item.answer, item.sample.turns) for item in asked if can_judge(item.turn)]), [])
