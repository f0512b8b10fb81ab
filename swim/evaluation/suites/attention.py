"""Where plain-text nouns look, and what the model answers next to the true words: one forward pass a conversation.

`attention.*` reads every arm by one ruler (the configuration's `readout`), `attention_own.*` by the arm's own layers,
query, domain, heads, fusion and normalisation; both on every patch with a mask. With `attributes`,
`attention_attribute.*` reads the word in front of a noun ("the small lemon"), `attention_its_noun.*` the nouns that
have one, and `attention_gap.*` is noun minus attribute. `answer.accuracy` counts slot words (where rows have slots),
`answer.ceiling` is what answering with the commonest value of all the clip's objects would score,
`answer.token_accuracy` counts every answer token. An answer whose slots are all right is right
(`swim.evaluation.breakdown`: by the size of the object, and by where the model looked).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swim.evaluation.attention_config import AttentionConfig

if TYPE_CHECKING:
    from swim.data.clips import Clips
    from swim.outputs import Evaluated
    from swim.recipe import Recipe
    from swim.train import Trained

FAMILIES = (
    "attention.",
    "attention_own.",
    "attention_attribute.",
    "attention_its_noun.",
    "attention_gap.",
    "answer.",
)


Config = AttentionConfig


def run(config: AttentionConfig, recipe: Recipe, trained: Trained, clips: Clips, micro_batch: int | None) -> Evaluated:
    """Scores the tags of the questions, and the answers, of held-out clips, `micro_batch` at a time."""
    # Imports torch, which takes seconds, and a plan reads only what stands above.
    from swim.evaluation.attention import score

    return score(config, recipe, trained, clips, micro_batch)
