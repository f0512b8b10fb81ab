"""Which rows the answers are read from: teacher-forced answers as they are, and with rows that do not see the video.

`mediation.accuracy` counts the words of answers in which the clip's objects differ (slots whose value is contested; the
others need no look at the right object), in turns about one tagged object. `mediation.by_noun` is that accuracy less
the one with the noun's rows blind to the whole video, in all layers: what the answers owe to where the noun looks.
`mediation.by_answer` is the same with the answering rows blind. `mediation.margin` is the log-probability of the first
token of such a word less that of the likeliest other token (nats: positive where the answer is right), which moves
before accuracy does. Each also by slot (`mediation.by_noun.motion`); `mediation.slots` is how many were counted.

A model that points well and whose `mediation.by_noun` is 0 answers from other rows than those that point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swim.recipe import Query, SuiteConfig

if TYPE_CHECKING:
    from swim.data.clips import Clips
    from swim.outputs import Evaluated
    from swim.recipe import Recipe
    from swim.train import Trained

FAMILIES = ("mediation.",)


class MediationConfig(SuiteConfig):
    """The queries whose rows are made blind: of the nouns, in questions and answers, and of the answers."""

    noun: Query = "noun-mean"
    answer: Query = "answer"

    def choices(self) -> set[tuple[str, str]]:
        """See `SuiteConfig`."""
        return {("query", self.noun), ("query", self.answer)}


Config = MediationConfig


def run(config: MediationConfig, recipe: Recipe, trained: Trained, clips: Clips, micro_batch: int | None) -> Evaluated:
    """Scores the contested slots of held-out clips three times, `micro_batch` conversations at a time."""
    # Imports torch, which takes seconds, and a plan reads only what stands above.
    from swim.evaluation.mediation import score

    return score({"by_noun": config.noun, "by_answer": config.answer}, recipe, trained, clips, micro_batch)
