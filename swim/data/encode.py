"""Clip → model inputs: the chat in tokens, labels on answers only, patches, and the token positions of each tagged
noun.

Dimensions: T frames, T' = T/2 temporal patches, H × W pixels, H' × W' visual tokens, K = T'·H'·W', L tokens,
B samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from swim.data.annotations import markup
from swim.data.context import require_positions
from swim.data.documents import Noun
from swim.data.positions import with_positions
from swim.data.types import AnswerSlot, Clip, DataError

# CLIP's statistics, which Qwen's processor uses.
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
IGNORE = -100
FRAMES_PER_PATCH = 2  # Qwen's temporal patch
VIDEO_TYPE = 2  # in `mm_token_type_ids`; without them M-RoPE silently becomes one-dimensional


def patchify(frames_THWC: Tensor, patch: int, merge: int) -> tuple[Tensor, tuple[int, int, int]]:
    """uint8 frames → (fp32 patches [T'·H/p·W/p, C·2·p·p], their grid), rows grouped by merge window as Qwen2-VL
    wants. Computed where the frames are: 16 of 868 × 868 take 342 ms on a CPU thread, 1 ms on an H200."""
    T, H, W, C = frames_THWC.shape
    mean_C, std_C = _statistics(frames_THWC.device)
    x = (frames_THWC.float() / 255 - mean_C) / std_C
    gt, gh, gw = T // FRAMES_PER_PATCH, H // patch, W // patch
    x = x.permute(0, 3, 1, 2).reshape(gt, FRAMES_PER_PATCH, C, gh // merge, merge, patch, gw // merge, merge, patch)
    x = x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(gt * gh * gw, C * FRAMES_PER_PATCH * patch * patch)
    return x, (gt, gh, gw)


@lru_cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    # Sent once: a copy to a GPU at every batch would wait for the steps before it.
    return torch.tensor(PIXEL_MEAN, device=device), torch.tensor(PIXEL_STD, device=device)


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
    """One sample. `grid` counts vision patches, of which `merge`² make a visual token; `slots` are (turn, slot, token
    positions) of the words that answer accuracy counts."""

    clip: Clip
    input_ids_L: Tensor
    labels_L: Tensor
    is_video_L: Tensor
    merge: int
    grid: tuple[int, int, int]
    seconds_per_patch: float
    nouns: tuple[NounRow, ...]
    slots: tuple[tuple[int, AnswerSlot, tuple[int, ...]], ...]


class Encoder:
    """Turns clips into `Encoded` samples for one tokenizer and patch geometry. `system` is Qwen's system prompt; the
    tiny recipes leave it out to save tokens. `positions`: the most tokens that a sample may have."""

    def __init__(
        self, tokenizer: Any, *, patch_px: int, merge: int, system: str | None, positions: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.patch_px, self.merge, self.system, self.positions = patch_px, merge, system, positions
        names = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|video_pad|>")
        self.start, self.end, self.vision_start, self.vision_end, self.video = (
            tokenizer.convert_tokens_to_ids(name) for name in names
        )

    def _tokenize(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        # The text of special tokens (`<|im_end|>`) in the data stays text.
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True)
        return encoded["input_ids"], encoded["offset_mapping"]

    def __call__(self, clip: Clip) -> Encoded:
        """The encoded clip. Raises DataError when a tag or slot has no tokens, and for more tokens than `positions`."""
        T, H, W, _ = clip.frames_THWC.shape
        grid = (T // FRAMES_PER_PATCH, H // self.patch_px, W // self.patch_px)
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
        if self.positions is not None:
            require_positions(len(ids) - n_visual, n_visual, self.positions, clip.key)
        input_ids_L = torch.tensor(ids)
        return Encoded(
            clip=clip,
            input_ids_L=input_ids_L,
            labels_L=torch.tensor(labels),
            is_video_L=input_ids_L == self.video,
            merge=self.merge,
            grid=grid,
            seconds_per_patch=seconds_per_patch(clip),
            nouns=tuple(nouns),
            slots=tuple(slots),
        )


@dataclass(frozen=True)
class Batch:
    """A batch: `inputs` are the keywords of `model(...)`, made of `tokens` (all but the pixels) and of the `frames` of
    each sample [T, H, W, 3], uint8; `nouns` has one tuple per sample, with positions in the padded rows. `plan` is what
    the forward pass needs besides, where it has been worked out beforehand (`swim.supervision.forward_plan`)."""

    samples: tuple[Encoded, ...]
    tokens: dict[str, Any]
    frames: tuple[Tensor, ...]
    labels_BL: Tensor
    nouns: tuple[tuple[NounRow, ...], ...]
    plan: Any = None

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """The keywords of `model(...)`. Pixels become patches here, on the device of the frames, and are kept."""
        if not self.frames:
            return self.tokens
        patches = [
            patchify(frames_THWC, frames_THWC.shape[1] // sample.grid[1], sample.merge)[0]
            for frames_THWC, sample in zip(self.frames, self.samples, strict=True)
        ]
        return self.tokens | {"pixel_values_videos": torch.cat(patches)}

    def to(self, device: torch.device) -> Batch:
        """The batch on a device. The host does not wait for the copies of a pinned one."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in pinned memory, its plan included."""
        return replace(self._each(Tensor.pin_memory), plan=self.plan and self.plan.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        tokens = {name: change(value) if isinstance(value, Tensor) else value for name, value in self.tokens.items()}
        frames = tuple(map(change, self.frames))
        return replace(self, tokens=tokens, frames=frames, labels_BL=change(self.labels_BL))


def collate(samples: list[Encoded], pad_id: int, side: Literal["left", "right"] = "right") -> Batch:
    """Pads to the longest sample: on the right for training, on the left for generation."""
    longest = max(len(s.input_ids_L) for s in samples)

    def pad(rows: list[Tensor], value: int) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value, padding_side=side)

    tokens = {
        "input_ids": pad([s.input_ids_L for s in samples], pad_id),
        "attention_mask": pad([torch.ones_like(s.input_ids_L) for s in samples], 0),
        "mm_token_type_ids": pad([s.is_video_L.int() * VIDEO_TYPE for s in samples], 0),
        **_grids(samples),
    }
    shifts = [longest - len(s.input_ids_L) if side == "left" else 0 for s in samples]
    labels_BL = pad([s.labels_L for s in samples], IGNORE)
    return Batch(tuple(samples), tokens, _frames(samples), labels_BL, _shift_nouns(samples, shifts))


def pack(samples: list[Encoded], config: Any) -> Batch:
    """All samples in one row without padding, for a model of this config (`model.config`).

    M-RoPE and the text positions restart with each sample; transformers separates samples by the text positions."""
    lengths = [len(s.input_ids_L) for s in samples]
    types = [s.is_video_L.int() * VIDEO_TYPE for s in samples]
    positions = []
    for sample, type_L in zip(samples, types, strict=True):
        alone = {"input_ids": sample.input_ids_L[None], "mm_token_type_ids": type_L[None], **_grids([sample])}
        rope_3BL = with_positions(config, alone)["position_ids"]
        text_1BL = torch.arange(len(sample.input_ids_L))[None, None]
        positions.append(torch.cat([text_1BL, rope_3BL]))
    labels = [s.labels_L.clone() for s in samples]
    for label_L in labels:
        label_L[0] = IGNORE  # the last token of one sample does not predict the first of the next
    tokens = {
        "input_ids": torch.cat([s.input_ids_L for s in samples])[None],
        "mm_token_type_ids": torch.cat(types)[None],
        "position_ids": torch.cat(positions, dim=-1),
        **_grids(samples),
    }
    shifts = [sum(lengths[:i]) for i in range(len(lengths))]
    return Batch(tuple(samples), tokens, _frames(samples), torch.cat(labels)[None], _shift_nouns(samples, shifts))


def _grids(samples: list[Encoded]) -> dict[str, Tensor]:
    return {
        "video_grid_thw": torch.tensor([s.grid for s in samples]),
        "second_per_grid_ts": torch.tensor([s.seconds_per_patch for s in samples]),
    }


def _frames(samples: list[Encoded]) -> tuple[Tensor, ...]:
    # Copied: frames out of a file are read-only, which torch cannot say of a tensor.
    return tuple(torch.tensor(s.clip.frames_THWC) for s in samples)


def _shift_nouns(samples: list[Encoded], shifts: list[int]) -> tuple[tuple[NounRow, ...], ...]:
    return tuple(
        tuple(replace(noun, tokens=tuple(token + shift for token in noun.tokens)) for noun in sample.nouns)
        for sample, shift in zip(samples, shifts, strict=True)
    )
