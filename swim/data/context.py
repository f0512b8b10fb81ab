"""How many tokens a conversation is, and whether a model has positions for them. Imports no torch, so that workers that
only read and decode start in a second.

Beyond its positions (`max_position_embeddings`) a model computes on without an error, with rotary angles that it was
never trained on: such a row is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from swim.data.chat import Piece, runs
from swim.data.types import DataError, Turn

TINY_POSITIONS = 4096  # of the tiny models


def count_tokens(tokenizer: Any, conversation: Iterable[Piece]) -> int:
    """The tokens of a conversation, or of a part of one, as `swim.data.encode.Encoder` writes it.

    Raises:
        MarkupError: for tags that cannot be read.
    """
    specials, texts = 0, []
    for special, run in runs(conversation):
        if special:
            specials += len(run)
        else:
            texts.append("".join(piece.text for piece in run))
    if not texts:
        return specials
    encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return specials + sum(map(len, encoded))


def most_text_tokens(turns: Sequence[Turn], system: str | None) -> int:
    """An upper bound of the tokens of a conversation, without its video, for a byte-level tokenizer, of which a token
    is at least a byte. Its NFC (Qwen's) makes at most three bytes of one."""
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
