"""Clip → model inputs: the chat in tokens, labels on answers only, patches, and the token positions of each tagged
noun.

Dimensions: T frames, T' = T/2 temporal patches, H × W pixels, H' × W' visual tokens, K = T'·H'·W', L tokens,
B samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swim.data.annotations import markup
from swim.data.documents import Noun
from swim.data.positions import with_positions
from swim.data.types import AnswerSlot, Clip, DataError

# CLIP's statistics, which Qwen's processor uses.
PIXEL_MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
PIXEL_STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)
IGNORE = -100
FRAMES_PER_PATCH = 2  # Qwen's temporal patch
VIDEO_TYPE = 2  # in `mm_token_type_ids`; without them M-RoPE silently becomes one-dimensional


def patchify(frames_THWC: NDArray[np.uint8], patch: int, merge: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Frames → (patches [T'·H/p·W/p, C·2·p·p], grid (T', H/p, W/p)), rows grouped by merge window as Qwen2-VL wants."""
    T, H, W, C = frames_THWC.shape
    x = (frames_THWC.astype(np.float32) / 255 - PIXEL_MEAN) / PIXEL_STD
    gt, gh, gw = T // 2, H // patch, W // patch
    x = x.transpose(0, 3, 1, 2).reshape(gt, 2, C, gh // merge, merge, patch, gw // merge, merge, patch)
    x = x.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(gt * gh * gw, C * 2 * patch * patch)
    return torch.from_numpy(np.ascontiguousarray(x)), (gt, gh, gw)


def seconds_per_patch(clip: Clip) -> float:
    """Seconds between temporal patches, the unit of M-RoPE: two of the kept frames, not two frames of the file."""
    stride = (clip.frame_indices[-1] - clip.frame_indices[0]) / (len(clip.frame_indices) - 1)
    return 2 * stride / clip.fps


@dataclass(frozen=True)
class NounRow(Noun):
    """One `<ins>` tag located in the tokens, with its noun and question. Question and answer name one object: tags with
    equal masks share one mask object."""

    tag: int
    turn: int
    in_answer: bool
    noun: str
    question: str


@dataclass(frozen=True)
class Encoded:
    """One sample. `grid` counts vision patches, `slots` are (turn, slot, token positions) of the words that
    answer accuracy counts."""

    clip: Clip
    input_ids_L: Tensor
    labels_L: Tensor
    is_video_L: Tensor
    patches: Tensor
    grid: tuple[int, int, int]
    seconds_per_patch: float
    nouns: tuple[NounRow, ...]
    slots: tuple[tuple[int, AnswerSlot, tuple[int, ...]], ...]


class Encoder:
    """Turns clips into `Encoded` samples for one tokenizer and patch geometry. `system` is Qwen's system prompt; the
    tiny recipes leave it out to save tokens."""

    def __init__(self, tokenizer: Any, *, patch_px: int, merge: int, system: str | None) -> None:
        self.tokenizer = tokenizer
        self.patch_px, self.merge, self.system = patch_px, merge, system
        names = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>")
        self.start, self.end, self.vision_start, self.vision_end, self.video = (
            tokenizer.convert_tokens_to_ids(name) for name in names
        )

    def _tokenize(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        # The text of special tokens (`<|im_end|>`) in the data stays text.
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
        return encoded["input_ids"], encoded["offset_mapping"]

    def __call__(self, clip: Clip) -> Encoded:
        """The encoded clip. Raises DataError when a tag or slot has no tokens."""
        patches, grid = patchify(clip.frames_THWC, self.patch_px, self.merge)
        n_visual = grid[0] * grid[1] * grid[2] // self.merge**2
        ids: list[int] = []
        labels: list[int] = []
        nouns: list[NounRow] = []
        slots: list[tuple[int, AnswerSlot, tuple[int, ...]]] = []

        def add_special(*tokens: int) -> None:
            ids.extend(tokens)
            labels.extend([IGNORE] * len(tokens))

        def add_message(role: str, text: str, turn: int, supervised: bool, question: str, video: bool = False) -> None:
            add_special(self.start)
            plain, tags = markup.strip_tags(text)
            header = f"{role}\n"
            if video:
                add_special(*self._tokenize(header)[0], self.vision_start, *[self.video] * n_visual, self.vision_end)
                header = ""
            if supervised:  # an answer: its header is not a label, its closing token is
                add_special(*self._tokenize(header)[0])
                header = ""
            tokens, offsets = self._tokenize(header + plain)
            begin = len(ids)
            ids.extend(tokens)
            labels.extend(tokens if supervised else [IGNORE] * len(tokens))
            offsets = [(a - len(header), b - len(header)) for a, b in offsets]
            for span in tags if clip.masks else ():  # without masks a tag is only text
                if len(nouns) == len(clip.masks):
                    raise ValueError(f"the <ins> tag of {span.text!r} has no masks, {len(clip.masks)} earlier ones do")
                noun_tokens = tuple(begin + i for i in markup.token_positions(offsets, span))
                track = clip.masks[clip.masks.index(clip.masks[len(nouns)])]
                nouns.append(NounRow(noun_tokens, track, len(nouns), turn, supervised, span.text, question))
            if supervised:
                for slot in clip.turns[turn].slots:
                    slot_tokens = markup.token_positions(offsets, markup.Span(slot.start, slot.end, slot.name))
                    slots.append((turn, slot, tuple(begin + i for i in slot_tokens)))
            ids.append(self.end)
            labels.append(self.end if supervised else IGNORE)
            add_special(*self._tokenize("\n")[0])

        if self.system is not None:
            add_message("system", self.system, -1, False, "")
        try:
            for number, turn in enumerate(clip.turns):
                question = markup.strip_tags(turn.human)[0]
                add_message("user", turn.human, number, False, question, video=number == 0)
                add_message("assistant", turn.gpt, number, True, question)
        except ValueError as error:
            raise DataError(str(error), field="conversations", hint="check the tags and slots", key=clip.key) from error
        if clip.masks and len(clip.masks) != len(nouns):
            hint = "each <ins> of the turns needs its own masks, in reading order"
            raise DataError(
                f"{len(nouns)} <ins> tags, {len(clip.masks)} masks", field="conversations", hint=hint, key=clip.key
            )
        input_ids_L = torch.tensor(ids)
        return Encoded(
            clip=clip,
            input_ids_L=input_ids_L,
            labels_L=torch.tensor(labels),
            is_video_L=input_ids_L == self.video,
            patches=patches,
            grid=grid,
            seconds_per_patch=seconds_per_patch(clip),
            nouns=tuple(nouns),
            slots=tuple(slots),
        )


@dataclass(frozen=True)
class Batch:
    """A batch: `inputs` are the keywords of `model(...)`; `nouns` has one tuple per sample, with positions in the
    padded rows."""

    samples: tuple[Encoded, ...]
    inputs: dict[str, Tensor]
    labels_BL: Tensor
    nouns: tuple[tuple[NounRow, ...], ...]

    def to(self, device: torch.device) -> Batch:
        return replace(
            self, inputs={k: v.to(device) for k, v in self.inputs.items()}, labels_BL=self.labels_BL.to(device)
        )


def collate(samples: list[Encoded], pad_id: int, side: Literal["left", "right"] = "right") -> Batch:
    """Pads to the longest sample: on the right for training, on the left for generation."""
    longest = max(len(s.input_ids_L) for s in samples)

    def pad(rows: list[Tensor], value: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value, padding_side=side)

    inputs = {
        "input_ids": pad([s.input_ids_L for s in samples], pad_id),
        "attention_mask": pad([torch.ones_like(s.input_ids_L) for s in samples], 0),
        "mm_token_type_ids": pad([s.is_video_L.int() * VIDEO_TYPE for s in samples], 0),
        **_video_inputs(samples),
    }
    shifts = [longest - len(s.input_ids_L) if side == "left" else 0 for s in samples]
    return Batch(tuple(samples), inputs, pad([s.labels_L for s in samples], IGNORE), _shift_nouns(samples, shifts))


def pack(samples: list[Encoded], config: Any) -> Batch:
    """All samples in one row without padding, for a model of this config (`model.config`).

    M-RoPE and the text positions restart with each sample; transformers separates samples by the text positions."""
    lengths = [len(s.input_ids_L) for s in samples]
    types = [s.is_video_L.int() * VIDEO_TYPE for s in samples]
    positions = []
    for sample, type_L in zip(samples, types, strict=True):
        alone = {"input_ids": sample.input_ids_L[None], "mm_token_type_ids": type_L[None], **_video_inputs([sample])}
        rope_3BL = with_positions(config, alone)["position_ids"]
        text_1BL = torch.arange(len(sample.input_ids_L))[None, None]
        positions.append(torch.cat([text_1BL, rope_3BL]))
    labels = [s.labels_L.clone() for s in samples]
    for label_L in labels:
        label_L[0] = IGNORE  # the last token of one sample does not predict the first of the next
    inputs = {
        "input_ids": torch.cat([s.input_ids_L for s in samples])[None],
        "mm_token_type_ids": torch.cat(types)[None],
        "position_ids": torch.cat(positions, dim=-1),
        **_video_inputs(samples),
    }
    shifts = [sum(lengths[:i]) for i in range(len(lengths))]
    return Batch(tuple(samples), inputs, torch.cat(labels)[None], _shift_nouns(samples, shifts))


def _video_inputs(samples: list[Encoded]) -> dict[str, Tensor]:
    return {
        "pixel_values_videos": torch.cat([s.patches for s in samples]),
        "video_grid_thw": torch.tensor([s.grid for s in samples]),
        "second_per_grid_ts": torch.tensor([s.seconds_per_patch for s in samples]),
    }


def _shift_nouns(samples: list[Encoded], shifts: list[int]) -> tuple[tuple[NounRow, ...], ...]:
    return tuple(
        tuple(replace(noun, tokens=tuple(token + shift for token in noun.tokens)) for noun in sample.nouns)
        for sample, shift in zip(samples, shifts, strict=True)
    )
