"""How much of a reference description stands in the question already. Imports no torch.

Questions of Bench-D are written from the captions that are to be generated: what they tell, a model need not see.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from swim.data.nl_refer.words import FUNCTION_WORDS

_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def leak_share(question: str, reference: str, nouns: Iterable[str] = ()) -> float | None:
    """The share of the reference's different content words that the question holds, 0 to 1; None for a reference
    without any.

    Both are plain text. The tagged `nouns` are left out: to ask about an object it has to be named. Words are compared
    as they are written, in lower case: "runs" and "running" are two, so that the true share is not smaller.
    """
    named = {word for noun in nouns for word in _words(noun)}
    content = _words(reference) - FUNCTION_WORDS - named
    return len(content & _words(question)) / len(content) if content else None


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}
