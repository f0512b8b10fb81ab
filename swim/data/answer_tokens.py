"""Where an answer stands among the tokens of a conversation: its labels, and the words in it that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True)
class AnswerTokens:
    """Positions in the batch row: `tokens` are the labels of one answer, its closing token included; `slots` the first
    token of each slot."""

    tokens: tuple[int, ...] = ()
    slots: tuple[int, ...] = ()

    def shifted(self, shift: int) -> AnswerTokens:
        """The same answer `shift` positions later."""
        return AnswerTokens(tuple(token + shift for token in self.tokens), tuple(token + shift for token in self.slots))


def answers_of_turns(labelled: Sequence[bool], slots: Iterable[tuple[int, int]]) -> list[AnswerTokens]:
    """The answer of each turn of a conversation: the runs of its labelled tokens, which text without labels parts.
    `slots` are (turn, first token)."""
    runs = [[i for i, _ in run] for is_answer, run in groupby(enumerate(labelled), lambda item: item[1]) if is_answer]
    of_turns: list[list[int]] = [[] for _ in runs]
    for turn, first in slots:
        of_turns[turn].append(first)
    return [AnswerTokens(tuple(run), tuple(firsts)) for run, firsts in zip(runs, of_turns, strict=True)]
