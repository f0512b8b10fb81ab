"""Answers and tokens of a run: what was paid for, and what the store had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from swimlab.llm.answer_cache import Answer


@dataclass
class TokenUsage:
    """Answers and tokens of some requests: `paid` in this run, `cached` from the store. Tokens as counted by the
    server; `uncounted` answers came without a count."""

    paid: int = 0
    cached: int = 0
    paid_prompt_tokens: int = 0
    paid_completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    cached_completion_tokens: int = 0
    uncounted: int = 0

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        state: Literal["cached", "paid"] = "cached" if answer.cached else "paid"
        prompt, completion = answer.usage.prompt_tokens, answer.usage.completion_tokens
        self.uncounted += prompt is None or completion is None
        for name, amount in (
            (state, 1),
            (f"{state}_prompt_tokens", prompt),
            (f"{state}_completion_tokens", completion),
        ):
            setattr(self, name, getattr(self, name) + (amount or 0))
