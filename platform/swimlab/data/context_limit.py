"""The limit that a recipe's model sets to the tokens of a row: its tokenizer and its number of positions."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from swim.data.context import SYSTEM, TINY_POSITIONS, most_text_tokens, require_positions, text_tokens
from swim.data.types import Clip, Turn
from swim.recipe import Frozen, HubModel, ModelConfig


class ContextLimit(Frozen):
    """`path` and `revision` are those of a hub model; None for a tiny one."""

    path: str | None
    revision: str | None
    positions: int

    @classmethod
    def of(cls, model: ModelConfig) -> ContextLimit:
        """The limit of a model. Raises OSError or ValueError where the configuration of a hub model cannot be read."""
        if not isinstance(model, HubModel):
            return cls(path=None, revision=None, positions=TINY_POSITIONS)
        # Takes a second to import, which most commands and workers do without.
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(model.path, revision=model.revision)
        positions = config.get_text_config().max_position_embeddings
        return cls(path=model.path, revision=model.revision, positions=positions)

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

    @property
    def system(self) -> str | None:
        """The system prompt that each conversation begins with."""
        return None if self.path is None else SYSTEM

    def text_tokens(self, turns: tuple[Turn, ...]) -> int:
        """The tokens of a conversation, without those of its video. Raises OSError where the tokenizer cannot be
        read."""
        return text_tokens(_tokenizer(self.path, self.revision), turns, self.system)

    def check(self, clip: Clip, cell_px: int) -> None:
        """Raises DataError when a clip is more tokens than the model has positions. `cell_px`: the side of a visual
        token."""
        T, H, W, _ = clip.frames_THWC.shape
        visual = visual_tokens(T, H, W, cell_px)
        # Tokenised only where the limit may be reached: of 128,000 positions that is in hardly any row.
        if visual + most_text_tokens(clip.turns, self.system) > self.positions:
            require_positions(self.text_tokens(clip.turns), visual, self.positions, clip.key)


def visual_tokens(frames: int, height: int, width: int, cell_px: int) -> int:
    """The visual tokens of a clip of that many resized frames, two of which share theirs. `cell_px`: the side of
    one."""
    return frames // 2 * (height // cell_px) * (width // cell_px)


@lru_cache(maxsize=2)
def _tokenizer(path: str | None, revision: str | None) -> Any:
    # Imported here for the reason above.
    if path is None:
        from swim.data.synthetic.tokenizer import build_tokenizer

        return build_tokenizer()
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, revision=revision)
    except ValueError as error:  # of a file that is damaged: no row is to be set aside for it
        raise OSError(f"the tokenizer of {path} cannot be read: {error}") from error
