"""Models of random weights in real shapes, made on the device itself, and conversations to train them on.

`7b` is Qwen2.5-VL-7B with its vision tower. Everything else is the product's: encoder, batches, probe, optimiser.

Dimensions: L tokens of a conversation, T frames, H × W pixels.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from swim import models
from swim.data.encode import Encoder
from swim.data.family import family_of
from swim.data.masks import encodings
from swim.data.synthetic.tokenizer import SPECIAL, build_tokenizer
from swim.data.types import Clip, Rle, Turn
from swim.models.vision import prepare_vision
from swim.recipe import FramePolicy, HubModel, NLReferFiles, Objective, Optim, Recipe
from text_shape import TextShape

NOUNS = ("red circle", "blue square", "green star", "small triangle")
ANSWER_WORDS = 60  # about 100 tokens with names and markup


@dataclass(frozen=True)
class Shape(TextShape):
    """A Qwen2.5-VL and the conversations for it: `tokens` each, with a video of `frames` frames of `side` pixels."""

    vision: dict[str, Any]
    tokens: int
    frames: int
    side: int
    masks_scale: float = 1.0  # of the sizes of masks

    @property
    def cell_px(self) -> int:
        """Side of a visual token in pixels."""
        return int(self.vision["patch_size"] * self.vision["spatial_merge_size"])


# Sizes of masks by name. At 360p two frames are annotated, the first and the last, which makes 8 maps of four nouns; at
# the others every frame (32 maps on 16 frames).
Masks = Literal["360p", "720p", "1080p"]
MASKS_PX: dict[Masks, tuple[int, int]] = {"360p": (360, 640), "720p": (720, 1280), "1080p": (1080, 1920)}

TOWER_7B = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "out_hidden_size": 3584,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
TOWER_TINY = {
    "depth": 2,
    "hidden_size": 48,
    "intermediate_size": 100,
    "num_heads": 4,
    "out_hidden_size": 64,
    "patch_size": 4,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 16,
    "fullatt_block_indexes": [1],
}
SHAPES = {
    # 8 × 31 × 31 = 7,688 visual tokens of 8,192.
    "7b": Shape(3584, 18944, 28, 28, 4, 152_064, TOWER_7B, 8192, 16, 868),
    # As wide a head and as deep a tower as numerics need, small enough to be trained in fp32 for some steps.
    "narrow": Shape(512, 1536, 8, 4, 2, 4096, {**TOWER_7B, "depth": 4, "out_hidden_size": 512}, 1024, 8, 336),
    "tiny": Shape(64, 128, 3, 4, 2, 1024, TOWER_TINY, 192, 4, 32, masks_scale=0.1),
}


def recipe(shape: Shape, *, weights: str = "float32", dtype: str = "bfloat16", **fields: Any) -> Recipe:
    """The recipe `qwen2.5-vl-7b` on this shape. `unchecked` layers keep their activations, `mask_weight` 0 is plain
    SFT, `batch` counts conversations a step."""
    return Recipe(
        name="gpu-check",
        model=HubModel(
            path="random weights",
            dtype=dtype,
            weights=weights,
            layers=shape.layers,
            cell_px=shape.cell_px,
            unchecked_layers=min(fields.get("unchecked", 0), shape.layers),
        ),
        data=NLReferFiles(annotations=(), videos="", frames=FramePolicy(cell_px=shape.cell_px)),
        objective=Objective(layers=f"even:{min(6, shape.layers)}", mask_weight=fields.get("mask_weight", 1.0)),
        optim=Optim(
            steps=1000, batch=fields.get("batch", 4), lr=2e-5, betas=(0.9, 0.999), warmup_steps=0, final_lr_fraction=0.0
        ),
    )


def config(shape: Shape) -> Qwen2_5_VLConfig:
    """The config of transformers for a model of this shape, with the ids of `tokenizer`."""
    ids = {token: tokenizer().convert_tokens_to_ids(token) for token in SPECIAL}
    return Qwen2_5_VLConfig(
        text_config=shape.config,
        vision_config=shape.vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )


def random_model(shape: Shape, spec: HubModel, device: torch.device, seed: int = 0) -> Any:
    """The real class with random weights, as `swim.train.train` trains it: tower in bf16 (fp32 where the spec computes
    in it), trained weights as the spec says."""
    torch.manual_seed(seed)
    with device:
        model = Qwen2_5_VLForConditionalGeneration._from_config(
            config(shape), dtype=getattr(torch, spec.dtype), attn_implementation="sdpa"
        )
    model = models.prepare(model, spec)
    prepare_vision(model, device)
    return model.train()


@cache
def tokenizer() -> Any:
    """The embedded data set's tokenizer, whose special tokens are Qwen's."""
    return build_tokenizer()


def encoder(shape: Shape) -> Encoder:
    """The product's encoder for this shape, with a tokenizer of its own: threads cannot share one."""
    return Encoder(copy.deepcopy(tokenizer()), family_of(config(shape)), system=None)


def clips(shape: Shape, many: int, masks: Masks = "360p") -> list[Clip]:
    """Conversations of exactly `shape.tokens` tokens with masks of that size (`MASKS_PX`).

    Raises ValueError where the text does not come to that length.
    """
    slots = (1, shape.frames - 1) if masks == "360p" else tuple(range(shape.frames))
    height, width = (round(side * shape.masks_scale) for side in MASKS_PX[masks])
    return [_clip(shape, number, slots, (height, width)) for number in range(many)]


def _clip(shape: Shape, number: int, slots: tuple[int, ...], mask_px: tuple[int, int]) -> Clip:
    generator = np.random.default_rng(number)
    frames_THWC = generator.integers(0, 256, (shape.frames, shape.side, shape.side, 3), dtype=np.uint8)
    marked = " ".join(f"<ins>{noun}</ins>" for noun in NOUNS)
    answer = " ".join(["the"] * ANSWER_WORDS)
    tracks = tuple({slot: _ellipse(number, noun, slot, mask_px) for slot in slots} for noun in range(len(NOUNS)))

    def made(words: int) -> Clip:
        turn = Turn(human=f"look{' the' * words} {marked}", gpt=answer)
        return Clip(f"gpu-{number}", (turn,), frames_THWC, tuple(range(shape.frames)), 2.0, tracks)

    encode = encoder(shape)
    missing = shape.tokens - len(encode(made(0)).input_ids_L)
    if missing < 0 or len(encode(filled := made(missing)).input_ids_L) != shape.tokens:
        raise ValueError(
            f"a conversation of {shape.tokens} tokens cannot be made: {missing} are missing without filler"
        )
    return filled


def _ellipse(number: int, noun: int, slot: int, size: tuple[int, int]) -> Rle:
    """An outline of 64 corners, elsewhere in each conversation, noun and frame."""
    height, width = size
    turn = np.arange(64) / 64 * 2 * math.pi
    x = width * (0.2 + 0.15 * noun + 0.01 * (number % 8)) + width * 0.12 * np.cos(turn)
    y = height * (0.3 + 0.02 * slot) + height * 0.15 * np.sin(turn)
    outline = np.stack([x, y], 1).ravel().clip(0, [width - 1, height - 1] * 64)
    return encodings.to_rle([outline.tolist()], height, width)
