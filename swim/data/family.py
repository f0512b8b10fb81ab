"""What a family of models says of itself: how its conversations are written, how frames become its inputs, and where
its visual tokens are. One file of `swim.models.families` each, named as `config.model_type`.

Dimensions: T frames of H × W pixels, B batch rows, L row length.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from swim import registry
from swim.data.chat import Chat, Special
from swim.data.pixels import Statistics
from swim.data.types import Clip, DataError
from swim.model_family import family_name
from swim.recipe import FAMILIES

Size = tuple[int, int, int]  # T, H, W of a clip


@dataclass(frozen=True)
class Visual:
    """Visual tokens of one video: ascending positions in raster order (T', H', W'), K = T'·H'·W'; `frames_per_patch`
    frames make one T' step (2 for Qwen)."""

    columns_K: Tensor
    grid: tuple[int, int, int]
    frames_per_patch: int


class Family(ABC):
    """A model family, for a model of this `config` (`model.config`).

    `tokens`: every special token that it writes, `visual_token` among them, which stands for pixels. `statistics`: mean
    and deviation by which pixels are normalised. `frames_per_patch`: frames behind one step of visual tokens.
    """

    chat: ClassVar[Chat]
    tokens: ClassVar[tuple[Special, ...]]
    visual_token: ClassVar[Special]
    statistics: ClassVar[Statistics]
    frames_per_patch: ClassVar[int]

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    @abstractmethod
    def cell_px(self) -> int:
        """The side of a visual token in pixels of a frame: whole ones fit every frame of a clip."""

    @property
    @abstractmethod
    def visual_id(self) -> int:
        """The id of `visual_token` in the config."""

    @property
    def frame_tokens(self) -> int | None:
        """The visual tokens of a frame where they are as many for a frame of any size; else None."""
        return None

    @abstractmethod
    def video(self, size_THW: Size, seconds_T: Sequence[float]) -> list[str]:
        """Special tokens and texts that stand for a video in a question; `seconds_T` are the times of its frames.
        Raises ValueError for a size that the model cannot read."""

    @abstractmethod
    def pixel_inputs(self, frames: Sequence[Tensor]) -> dict[str, Tensor]:
        """The keywords of the model's call that hold the pixels of a batch; `frames` are [T, H, W, 3] uint8 for each
        clip. Raises ValueError for clips that do not go together."""

    def token_inputs(self, ids_BL: Tensor, clips: Sequence[Clip]) -> dict[str, Tensor]:
        """Further keywords of the model's call, about the tokens of a batch and its videos."""
        return {}

    @abstractmethod
    def locate(self, inputs: Mapping[str, Tensor], ids_L: Tensor, nth: int) -> Visual | None:
        """The visual tokens of one document, of the token ids `ids_L`; None where it has no video. `inputs` are the
        keywords of the model's call, `nth` is how many documents with a video came before it in the batch. Raises
        ValueError where the tokens do not fill the video's grid."""

    def positions(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """The `position_ids` of a batch by the rule of the model's authors, where transformers has another one or
        needs to be told; None where it does not, and for a batch without a visual token."""
        return None


def family_of(config: Any) -> Family:
    """The family of a model's config. Raises ValueError for one without a file."""
    family: Family = registry.load(FAMILIES, family_name(config.model_type))(config)
    return family


def video_parts(family: Family, size_THW: Size, seconds_T: Sequence[float], key: str = "") -> tuple[list[str], int]:
    """What stands for a video (`Family.video`), and how many of its tokens are visual. Raises DataError, with the key
    of the row, for a size that the model cannot read."""
    try:
        parts = family.video(size_THW, seconds_T)
    except ValueError as error:
        hint = "give data.frames the max_frames and cell_px of this model, and prepare the clips again"
        raise DataError(str(error), field="video", hint=hint, key=key) from error
    return parts, parts.count(family.visual_token)
