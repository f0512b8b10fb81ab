"""The question of each turn as plain text, and below its options the instruction to answer with a letter alone."""

from __future__ import annotations

from swim.data.types import Clip
from swim.evaluation.choice_prompt import with_instruction
from swim.evaluation.generate import Prompt


def prompts(clip: Clip) -> list[Prompt]:
    """One prompt a turn. A question without options is asked as in the arm `text`."""
    return [Prompt(clip, with_instruction(turn.human), number) for number, turn in enumerate(clip.turns)]
