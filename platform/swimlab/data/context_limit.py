"""The limit that a recipe's model sets to the tokens of a row: its tokenizer and its number of positions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swim.data.chat import SYSTEM, Piece, pieces
from swim.data.context import TINY_POSITIONS, count_tokens, most_text_tokens, require_positions
from swim.data.types import Clip, Turn
from swim.recipe import Frozen, HubModel, ModelConfig
from swimlab.experiment.model_shape import visual_tokens

if TYPE_CHECKING:
    from swim.data.family import Family

# More tokens than the texts around a video have: some families tell its length and the time of each frame.
_VIDEO_TEXT, _FRAME_TEXT = 160, 32


class ContextLimit(Frozen):
    """The positions of a model. `frame_tokens`: the visual tokens of a frame where they are as many for one of any
    size; else None."""

    model: ModelConfig
    positions: int
    frame_tokens: int | None = None

    @classmethod
    def of(cls, model: ModelConfig) -> ContextLimit:
        """The limit of a model. Raises OSError or ValueError where the config of a hub model cannot be read, or is not
        what the recipe says."""
        if not isinstance(model, HubModel):
            return cls(model=model, positions=TINY_POSITIONS)
        # They import torch and transformers, which most commands and workers do without.
        from swim.data.family import family_of
        from swim.models.hub import read_config

        config = read_config(model)
        positions = config.get_text_config().max_position_embeddings
        return cls(model=model, positions=positions, frame_tokens=family_of(config).frame_tokens)

    @classmethod
    def on_this_machine(cls, model: ModelConfig) -> ContextLimit | None:
        """The limit of a model, or None where its files would have to be downloaded."""
        if isinstance(model, HubModel) and not Path(model.path).is_dir():
            # Imported here for the reason above.
            from huggingface_hub import try_to_load_from_cache

            files = ("config.json", "tokenizer_config.json", "tokenizer.json")
            found = (try_to_load_from_cache(model.path, name, revision=model.revision) for name in files)
            if not all(isinstance(file, str) for file in found):
                return None
        return cls.of(model)

    def text_tokens(self, turns: tuple[Turn, ...]) -> int:
        """The tokens of a conversation, without those of its video. Raises OSError where the tokenizer cannot be
        read."""
        tokenizer, family, system = _read(self.model)
        return count_tokens(tokenizer, pieces(family.chat, turns, system))

    def check(self, clip: Clip, cell_px: int) -> None:
        """Raises DataError when a clip is more tokens than the model has positions."""
        # Tokenised only where the limit may be reached: of 128,000 positions that is in hardly any row.
        if not self._may_exceed(most_text_tokens(clip.turns, SYSTEM), clip.size_THW, cell_px):
            return
        from swim.data.family import video_parts  # imports torch

        tokenizer, family, system = _read(self.model)
        video, visual = video_parts(family, clip.size_THW, clip.seconds_T, clip.key)
        tokens = count_tokens(tokenizer, pieces(family.chat, clip.turns, system, video))
        require_positions(tokens - visual, visual, self.positions, clip.key)

    def check_counted(
        self, text: int, size_THW: tuple[int, int, int], seconds_T: Sequence[float], cell_px: int
    ) -> None:
        """The same for a row of which the `text_tokens` are counted already, and a video of T frames of H × W at these
        times. Tokens at the border of both may be counted once more."""
        if not self._may_exceed(text, size_THW, cell_px):
            return
        from swim.data.family import video_parts  # imports torch

        tokenizer, family, _ = _read(self.model)
        video, visual = video_parts(family, size_THW, seconds_T)
        beside = count_tokens(tokenizer, map(Piece, video)) - visual
        require_positions(text + beside, visual, self.positions)

    def _may_exceed(self, text: int, size_THW: tuple[int, int, int], cell_px: int) -> bool:
        beside = _VIDEO_TEXT + _FRAME_TEXT * size_THW[0]
        return text + beside + visual_tokens(*size_THW, cell_px, self.frame_tokens) > self.positions


@lru_cache(maxsize=2)
def _read(model: ModelConfig) -> tuple[Any, Family, str | None]:
    """Tokenizer, family and system prompt."""
    # Imported here for the reason above.
    from swim.data.family import family_of

    if not isinstance(model, HubModel):
        from swim.data.synthetic.tokenizer import build_tokenizer
        from swim.models import tiny

        tokenizer = build_tokenizer(model.vocabulary)
        return tokenizer, family_of(tiny.config(model, tokenizer)), None
    from transformers import AutoTokenizer

    from swim.models.hub import read_config

    try:
        family = family_of(read_config(model))
        tokenizer = AutoTokenizer.from_pretrained(model.path, revision=model.revision)
    except ValueError as error:  # of a file that is damaged: no row is to be set aside for it
        raise OSError(f"the tokenizer of {model.path} cannot be read: {error}") from error
    return tokenizer, family, family.chat.system_prompt
