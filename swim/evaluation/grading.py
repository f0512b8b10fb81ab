"""Every answer graded by a language model, unusable replies asked again, and what became of each counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from swim.data.annotations.markup import strip_tags
from swim.evaluation.judging import Form, Scores, Unparsed, question, question_again, read, released_read
from swim.evaluation.scoring import Ask, Asked, Reply

Outcome = Literal["parsed", "unparsed", "refused", "failed"]
OUTCOMES: tuple[Outcome, ...] = ("parsed", "unparsed", "refused", "failed")


@dataclass(frozen=True)
class Grade:
    """What a judge made of one answer: `scores` (axis → 0 to 5) where it was parsed, else the `reason`. `replies` is
    how many were needed; `released` is the first reply as the released rule reads it, None where there was none or the
    rule ends with an error."""

    asked: Asked
    outcome: Outcome
    scores: Scores | None = None
    reason: str = ""
    replies: int = 1
    released: dict[str, float] | None = None


def grade(asked: Sequence[Asked], ask: Ask, form: Form, reasks: int, repeat: int = 0) -> list[Grade]:
    """One grade an answer, in their order. A reply that cannot be read is asked for again with the reason, up to
    `reasks` times; a refusal and a failure are not. Where the model gave no answer there is nothing to ask. Another
    `repeat` asks anew."""
    questions = [question(strip_tags(item.turn.gpt)[0], item.answer.text, form, repeat) for item in asked]
    grades: dict[int, Grade] = {}
    released: dict[int, dict[str, float] | None] = {}
    for i, item in enumerate(asked):
        if item.answer.finish == "failed":
            grades[i] = Grade(item, "failed", reason=f"the model gave no answer: {item.answer.failure}", replies=0)
    pending = [i for i in range(len(asked)) if i not in grades]
    for attempt in range(1, reasks + 2):
        replies = ask([questions[i] for i in pending]) if pending else []
        unusable = []
        for i, reply in zip(pending, replies, strict=True):
            if attempt == 1:
                released[i] = released_read(reply.text) if form == "text" and reply.text else None
            outcome, scores, reason = _outcome(reply, form)
            grades[i] = Grade(asked[i], outcome, scores, reason, attempt, released[i])
            if outcome == "unparsed":
                unusable.append(i)
                questions[i] = question_again(questions[i], reply.text, reason)
        pending = unusable
    return [grades[i] for i in range(len(asked))]


def counts(grades: Sequence[Grade]) -> dict[str, int]:
    """How many were asked, and what became of them: asked = parsed + unparsed + refused + failed."""
    outcomes = Counter(grade.outcome for grade in grades)
    return {"asked": len(grades)} | {outcome: outcomes[outcome] for outcome in OUTCOMES}


def _outcome(reply: Reply, form: Form) -> tuple[Outcome, Scores | None, str]:
    if reply.failure:
        return "failed", None, reply.failure
    if reply.refusal or reply.finish == "content_filter":
        return "refused", None, reply.refusal or "the server's filter stopped the reply"
    scores = read(reply.text, form)
    if not isinstance(scores, Unparsed):
        return "parsed", scores, ""
    cut = "the reply was cut off at its limit of tokens; " if reply.finish == "length" else ""
    return "unparsed", None, cut + scores.reason
