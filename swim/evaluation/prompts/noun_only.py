"""The object by its noun alone: "Describe the dog in the video in detail."

Questions of Bench-D are written from the captions that are to be generated, and so tell parts of the answer. This arm
tells none: a model's loss against the arm `text` is what the questions gave away, and what only they tell of two
objects of one name.
"""

from __future__ import annotations

from swim.data.annotations.markup import strip_tags
from swim.data.types import Clip, DataError
from swim.evaluation.generate import Prompt


def prompts(clip: Clip) -> list[Prompt]:
    """One prompt a turn. Raises DataError for a question that names no object, or several."""
    question = "Describe the <ins>{}</ins> in the video in detail."
    return [Prompt(clip, question.format(_noun(clip, n)), n) for n in range(len(clip.turns))]


def _noun(clip: Clip, number: int) -> str:
    nouns = [span.text for span in strip_tags(clip.turns[number].human)[1]]
    if len(nouns) != 1:
        hint = "the arm noun-only is for descriptions of one object, tagged <ins>noun</ins> in the question"
        raise DataError(f"the question tags {len(nouns)} nouns", field="conversations", hint=hint, key=clip.key)
    return nouns[0]
