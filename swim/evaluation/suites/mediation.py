"""Which rows the answers are read from: teacher-forced answers as they are, and with rows that do not see the video.

`mediation.accuracy` counts the words of answers in which the clip's objects differ (slots whose value is contested; the
others need no look at the right object), in turns about one tagged object. `mediation.by_noun` is that accuracy less
the one with the noun's rows blind to the whole video, in all layers: what the answers owe to where the noun looks.
`mediation.by_answer` is the same with the answering rows blind. `mediation.margin` is the log-probability of the first
token of such a word less that of the likeliest other token (nats: positive where the answer is right), which moves
before accuracy does. With `token_edges` (4,) `mediation.accuracy_under_4` and `mediation.accuracy_from_4` are the
accuracies about objects of fewer and of at least 4 visual tokens. Each also by slot (`mediation.by_noun.motion`);
`mediation.slots` is how many were counted.

A model that points well and whose `mediation.by_noun` is 0 answers from other rows than those that point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt, field_validator

from swim.recipe import Query, SuiteConfig

if TYPE_CHECKING:
    from swim.data.clips import Clips
    from swim.outputs import Evaluated
    from swim.recipe import Recipe
    from swim.train import Trained

FAMILIES = ("mediation.",)


class MediationConfig(SuiteConfig):
    """The queries whose rows are made blind: of the nouns, in questions and answers, and of the answers. `token_edges`
    divide the sizes of objects, in visual tokens of one temporal patch; without any, sizes are not told apart."""

    noun: Query = "noun-mean"
    answer: Query = "answer"
    token_edges: tuple[PositiveInt, ...] = ()

    @field_validator("token_edges")
    @classmethod
    def _ascending(cls, edges: tuple[int, ...]) -> tuple[int, ...]:
        if list(edges) != sorted(set(edges)):
            raise ValueError(f"{edges}: give sizes in ascending order, each once")
        return edges

    def choices(self) -> set[tuple[str, str]]:
        """See `SuiteConfig`."""
        return {("query", self.noun), ("query", self.answer)}


Config = MediationConfig


def run(config: MediationConfig, recipe: Recipe, trained: Trained, clips: Clips, micro_batch: int | None) -> Evaluated:
    """Scores the contested slots of held-out clips three times, `micro_batch` conversations at a time."""
    # Imports torch, which takes seconds, and a plan reads only what stands above.
    from swim.evaluation.mediation import score

    queries = {"by_noun": config.noun, "by_answer": config.answer}
    return score(queries, config.token_edges, recipe, trained, clips, micro_batch)
