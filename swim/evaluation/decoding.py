"""How a model's answers are decoded, apart from what decodes them so that a plan can read it without torch."""

from pydantic import Field

from swim.frozen import Frozen


class Decoding(Frozen):
    """Greedy: each token is the most likely one. At most `max_new_tokens` tokens an answer."""

    max_new_tokens: int = Field(128, ge=1)
