"""What a model answers in its own words about the embedded data, scored as VideoRefer-Bench-D is, by a judge that knows
the truth.

`described.subject`, `.appearance`, `.temporal` and `.hallucination` run from 0 to 5, `described.avg` is their mean
(`swim.evaluation.description_judge` defines them); where one word is asked for there is `.avg` alone.
`described.ceiling.*` is what an answer reaches that names the noun and knows the clip but not which object is meant.
`described.unfinished` is the share of answers that a limit ended, `described.answers` how many were judged: 0 for data
of other words. The answers are kept. What else there is, by the size of the object and by where the model looked, says
`swim.evaluation.breakdown`.

Teacher-forced accuracy (`answer.accuracy` of the suite `attention`) hides who describes the wrong object.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pydantic import Field

from swim.recipe import SuiteConfig

if TYPE_CHECKING:
    from swim.data.clips import Clips
    from swim.outputs import Evaluated
    from swim.recipe import Recipe
    from swim.train import Trained

FAMILIES = ("described.",)


class DescribedConfig(SuiteConfig):
    """One question about each of the first `answers` held-out clips, answered in at most `max_new_tokens` tokens: the
    longest true answer has 14."""

    answers: int = Field(100, ge=1)
    max_new_tokens: int = Field(24, ge=1)


Config = DescribedConfig


def run(config: DescribedConfig, recipe: Recipe, trained: Trained, clips: Clips, micro_batch: int | None) -> Evaluated:
    """Asks and judges, `micro_batch` questions at a time."""
    # Imports torch, which takes seconds, and a plan reads only what stands above.
    from swim.evaluation.description_judge import can_judge, scored
    from swim.evaluation.generate import Decoding, Prompt, generate
    from swim.outputs import Evaluated

    judgeable = (clip for clip in clips.read(range(len(clips.keys))) if can_judge(clip.turns[0]))
    asked = list(islice(judgeable, config.answers))
    decoding = Decoding(max_new_tokens=config.max_new_tokens)
    prompts = [Prompt(clip, clip.turns[0].human) for clip in asked]
    answers = generate(recipe, trained, prompts, decoding, batch_size=micro_batch)
    turns = [clip.turns for clip in asked]
    return Evaluated(*scored(list(zip(answers, turns, strict=True))), [], answers)
