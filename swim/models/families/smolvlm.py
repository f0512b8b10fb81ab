"""SmolVLM: a video is a series of images: `Frame from 00:01:`, an opening pair of tokens, one frame's tokens, a closing
one. A frame has (image side ÷ patch ÷ scale_factor)² tokens: the pixel shuffle joins squares of patches, raster order.

Each frame is resized twice, as by the processor: its longer side to the tower's, then to the square. By bicubic
interpolation, to which the processor falls back on a GPU; on a CPU with torchvision 0.27 it interpolates by Lanczos
(1.2 of 255 levels apart on white noise).

A clip does not know how long its video is: its length is taken to be the time of the last frame shown, as the processor
takes it where the metadata have no duration.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import torch
from torch import Tensor

from swim.data import family
from swim.data.chat import START, Chat, Message, Special
from swim.data.family import Size, Visual
from swim.data.pixels import HALF, squares

IMAGE, FAKE, GLOBAL = Special("<image>"), Special("<fake_token_around_image>"), Special("<global-img>")
END = Special("<end_of_utterance>")
_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_TEENS = ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


class Family(family.Family):
    """SmolVLM2. (Checkpoints of the first SmolVLM have the model type idefics3, which is another family.)"""

    chat = Chat(
        human=Message(("User: ",), (END, "\n")),
        answer=Message(("Assistant:",), (END, "\n"), lead=" "),
        system=Message(("System: ",), (END, "\n")),
        start=(START,),
    )
    tokens = (START, END, IMAGE, FAKE, GLOBAL)
    visual_token = IMAGE
    statistics = HALF
    frames_per_patch = 1

    @property
    def cell_px(self) -> int:
        """Patch × scale factor of the pixel shuffle."""
        return int(self.config.vision_config.patch_size * self.config.scale_factor)

    @property
    def visual_id(self) -> int:
        """Of `<image>`."""
        return int(self.config.image_token_id)

    @property
    def side(self) -> int:
        """Visual tokens on a side of a frame."""
        vision = self.config.vision_config
        return int(vision.image_size // vision.patch_size // self.config.scale_factor)

    @property
    def frame_tokens(self) -> int:
        """The grid after the pixel shuffle."""
        return self.side**2

    def video(self, size_THW: Size, seconds_T: Sequence[float]) -> list[str]:
        """The processor's introduction, and the frames, each behind its time."""
        duration = timedelta(seconds=int(seconds_T[-1]))
        parts = [
            f"You are provided the following series of {in_words(size_THW[0])} frames from a {duration} [H:MM:SS] "
            "video.\n"
        ]
        for second in seconds_T:
            stamp = f"{int(second // 60):02d}:{int(second % 60):02d}"
            parts += [f"\nFrame from {stamp}:", FAKE, GLOBAL, *[IMAGE] * self.frame_tokens, FAKE]
        return [*parts, "\n\n"]

    def pixel_inputs(self, frames: Sequence[Tensor]) -> dict[str, Tensor]:
        """`pixel_values`, [B, T, C, side, side]; behind a shorter video zeros, which the model takes for padding."""
        side = self.config.vision_config.image_size
        videos = [squares(f, side, self.statistics, by_way_of=_by_longer_side(f.shape[1:3], side)) for f in frames]
        return {"pixel_values": torch.nn.utils.rnn.pad_sequence(videos, batch_first=True)}

    def locate(self, inputs: Mapping[str, Tensor], ids_L: Tensor, nth: int) -> Visual | None:
        """The document's frames: its runs of `image_token_id`.

        Raises ValueError when a run is not one frame, when the runs are tiles of a split image (each opens with another
        `<row_i_col_j>` token, frames all with the same), and when `pixel_values` holds another number of frames for it.
        """
        columns_K = (ids_L == self.visual_id).nonzero()[:, 0]
        if not len(columns_K):
            return None
        side = self.side
        prefix = f"document with video {nth} (counted from 0) has"
        T = len(columns_K) // side**2
        if len(columns_K) != T * side**2 or bool((columns_K.reshape(T, -1).diff(dim=1) != 1).any()):
            raise ValueError(
                f"{prefix} {len(columns_K)} image tokens, no runs of {side} × {side}, which is one frame: do not "
                "truncate inside a frame, and check the processor's image_seq_len against the model's config"
            )
        before_T = columns_K[:: side**2] - 1
        if int(before_T[0]) < 0 or len(set(ids_L[before_T].tolist())) > 1:
            raise ValueError(
                f"{prefix} images whose tokens do not all follow the same opening token: tiles of a split image are no "
                "frames; give the processor a video, or images with do_image_splitting=False"
            )
        pixels = inputs.get("pixel_values")
        if pixels is not None and (frames := _frames(pixels, nth)) != T:
            raise ValueError(
                f"{prefix} the tokens of {T} frames, but pixel_values holds {frames} for it: do not truncate between "
                "frames; several videos in one sample are not supported"
            )
        return Visual(columns_K, (T, side, side), 1)


def _by_longer_side(size: Sequence[int], side: int) -> tuple[int, int]:
    """The (height, width) of a frame whose longer side is made `side`, the other one even (rounded up)."""
    height, width = size
    shorter = int(side / (max(size) / min(size)))
    shorter += shorter % 2
    return (shorter, side) if width >= height else (side, shorter)


def _frames(pixels_BTCHW: Tensor, nth: int) -> int:
    """Frames of the nth sample that has any. Padding frames follow the real ones and are zeros, as for the model."""
    shown = pixels_BTCHW[:, 0].flatten(1).any(1).nonzero()[:, 0]
    return int(pixels_BTCHW[shown[nth]].flatten(1).any(1).sum()) if nth < len(shown) else 0


def in_words(number: int) -> str:
    """A number from 0 to 999 in English words, as num2words writes it, which the processor uses. Raises ValueError for
    others."""
    if not 0 <= number < 1000:
        raise ValueError(f"a video of {number} frames: SmolVLM is told their number in words, at most 999")
    if number < 20:
        return (*_ONES, *_TEENS)[number]
    if number < 100:
        tens, ones = _TENS[number // 10 - 2], number % 10
        return f"{tens}-{_ONES[ones]}" if ones else tens
    hundreds, rest = divmod(number, 100)
    return f"{_ONES[hundreds]} hundred and {in_words(rest)}" if rest else f"{_ONES[hundreds]} hundred"
