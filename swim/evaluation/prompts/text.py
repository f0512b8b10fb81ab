"""The question of each turn as plain text, each asked by itself."""

from __future__ import annotations

from swim.data.types import Clip
from swim.evaluation.generate import Prompt


def prompts(clip: Clip) -> list[Prompt]:
    """One prompt a turn, in their order."""
    return [Prompt(clip, turn.human, number) for number, turn in enumerate(clip.turns)]
