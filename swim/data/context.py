"""How many tokens a conversation is, and whether a model has positions for them. Imports no torch, so that workers that
only read and decode start in a second.

Beyond its positions (`max_position_embeddings`) a model computes on without an error, with rotary angles that it was
never trained on: such a row is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swim.data.annotations.markup import strip_tags
from swim.data.types import DataError, Turn

# Qwen2.5-VL's own system prompt; a tiny model spends its few tokens elsewhere.
SYSTEM = "You are a helpful assistant."
TINY_POSITIONS = 4096  # of the tiny models


def text_tokens(tokenizer: Any, turns: Sequence[Turn], system: str | None) -> int:
    """The tokens of a conversation as `swim.data.encode.Encoder` writes it, without those of the video.

    Raises:
        MarkupError: for tags that cannot be read.
    """
    # Tokenised in the pieces of the Encoder: tokens do not cross their borders. Of each message <|im_start|> and
    # <|im_end|> come on top, of the video's <|vision_start|> and <|vision_end|>.
    pieces = [] if system is None else [f"system\n{system}", "\n"]
    for number, turn in enumerate(turns):
        asked = strip_tags(turn.human)[0]
        pieces += ["user\n", asked] if number == 0 else [f"user\n{asked}"]
        pieces += ["\n", "assistant\n", strip_tags(turn.gpt)[0], "\n"]
    encoded = tokenizer(pieces, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return sum(map(len, encoded)) + 2 * (2 * len(turns) + 1 + (system is not None))


def most_text_tokens(turns: Sequence[Turn], system: str | None) -> int:
    """An upper bound of `text_tokens` for a byte-level tokenizer, of which a token is at least a byte. Its NFC (Qwen's)
    makes at most three bytes of one."""
    texts = [system or "", *(text for turn in turns for text in (turn.human, turn.gpt))]
    size_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return 3 * size_bytes + 32 * (len(turns) + 1)  # 32: the special tokens and role words of a turn


def require_positions(text: int, visual: int, positions: int, key: str = "") -> None:
    """Raises DataError for a conversation of more tokens, `text` and `visual` together, than a model has positions."""
    if text + visual > positions:
        raise DataError(
            f"{text + visual} tokens, {text} of the text and {visual} of the video: more than the model's {positions} "
            "positions",
            field="conversations",
            hint="shorten the texts or split the turns over several rows; data.frames.max_frames and max_pixels limit "
            "the video",
            key=key,
        )
