"""The four training steps whose cost is compared: random weights, one sample, the text loss and the mask loss.

`sft` is SWIM's own step without mask loss, `swim` the step with it. `released` and `eager` stand for what one would
otherwise do: the released scheme written anew from its description, and stock transformers asked for every attention
map. The head runs on labelled positions in all four, so that only the supervision differs.

Dimensions: L tokens, R text tokens after the video, N nouns, K visual tokens on a T' × H' × W' grid, S supervised
layers, H query heads, G key/value heads, D head width, P supervised maps (noun × annotated patch).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from swim.data.documents import Noun
from swim.data.encode import IGNORE
from swim.data.masks import encodings
from swim.recipe import Objective
from swim.supervision import layers
from swim.supervision.attention import attach
from swim.supervision.forward_plan import labelled
from swim.supervision.losses.bce import mask_loss
from swim.supervision.objective import SupervisedModel, text_loss
from text_shape import TextShape

SCHEMES = ("sft", "swim", "released", "eager")
LABELS, NOUNS = 100, 4
MASK_PX = (360, 640)
PATCHES = 8  # T'
MERGE = 2
TEXT_WEIGHT = 0.05  # to a mask weight of 1, in both presets


@dataclass(frozen=True)
class Size(TextShape):
    """A Qwen2.5-VL language model. `checkpointing`: non-reentrant, as the 7B recipe trains."""

    dtype: torch.dtype = torch.float32
    checkpointing: bool = False

    @property
    def supervised(self) -> tuple[int, ...]:
        """The paper's six evenly spaced layers, all of them where there are fewer."""
        return tuple(layers.resolve(f"even:{min(6, self.layers)}", self.layers))


SIZES = {
    "nano": Size(32, 64, 3, 4, 2, 512),
    "small": Size(256, 1024, 8, 8, 2, 2048),
    "7b": Size(3584, 18944, 28, 28, 4, 152_064, torch.bfloat16, checkpointing=True),
    # What supervision holds under checkpointing does not depend on the head width: the 7B's count, affordable on a CPU.
    "7b-narrow": Size(224, 64, 28, 28, 4, 512, torch.bfloat16, checkpointing=True),
}


@dataclass(frozen=True)
class Sample:
    """One conversation: some prompt, the video, and text of which the last tokens are the answer. The vision
    features are given, so that only the language model is measured."""

    inputs: dict[str, Any]
    labels_BL: Tensor
    nouns: tuple[Noun, ...]
    columns: slice
    grid: tuple[int, int, int]

    @property
    def targets(self) -> list[tuple[int, int]]:
        """(noun, annotated patch) of every supervised map."""
        return [(n, slot // 2) for n, noun in enumerate(self.nouns) for slot in sorted(noun.masks)]


def sample(config: Qwen2_5_VLConfig, tokens: int, text: int, device: torch.device, seed: int = 0) -> Sample:
    """Exactly `tokens` tokens, `text` of them after the video, on the largest near-square grid that fits before them.

    Raises ValueError when there is no room for a video.
    """
    generator = torch.Generator().manual_seed(seed)
    patches = PATCHES if tokens >= 1024 else 2
    cells = (tokens - text - 2) // patches
    if cells < 4 or text < 3 * (NOUNS + 1):
        raise ValueError(
            f"{tokens} tokens, {text} of them text: give the video {4 * patches} or more, the text {3 * (NOUNS + 1)}"
        )
    H = math.isqrt(cells)
    T, W = patches, cells // H
    K = T * H * W
    first = tokens - text - 1 - K
    special = config.video_token_id, config.vision_start_token_id, config.vision_end_token_id
    ids_L = torch.randint(min(special) - 1, (tokens,), generator=generator)
    ids_L[first - 1], ids_L[first + K] = special[1], special[2]
    ids_L[first : first + K] = special[0]
    labels_L = torch.full((tokens,), IGNORE)
    answer = min(LABELS, text // 3)
    labels_L[-answer:] = ids_L[-answer:]
    spacing = (text - answer) // (NOUNS + 1)
    positions = [first + K + spacing * (n + 1) for n in range(NOUNS)]
    features_KC = torch.randn(K, config.text_config.hidden_size, generator=generator)
    inputs = {
        "input_ids": ids_L[None],
        "attention_mask": torch.ones(1, tokens, dtype=torch.long),
        "mm_token_type_ids": (ids_L == special[0])[None].int() * 2,
        "video_grid_thw": torch.tensor([[T, H * MERGE, W * MERGE]]),
        "second_per_grid_ts": torch.tensor([1.0]),
    }
    return Sample(
        {name: value.to(device) for name, value in inputs.items()}
        | {"mm_encoder_outputs": {"video": BaseModelOutputWithPooling(pooler_output=[features_KC.to(device)])}},
        labels_L[None].to(device),
        tuple(Noun((p,), _tracks(n, T)) for n, p in enumerate(positions)),
        slice(first, first + K),
        (T, H, W),
    )


def _tracks(noun: int, patches: int) -> dict[int, Any]:
    """Two annotated frames at 360 × 640, each the second of its pair, which every scheme reads alike."""
    height, width = MASK_PX
    top, left = 40 + 60 * noun, 80 + 100 * noun
    box = [[left, top, left + 160, top, left + 160, top + 100, left, top + 100]]
    return {slot: encodings.to_rle(box, height, width) for slot in (1, 2 * patches - 1)}


def language_model(size: Size, implementation: str, device: torch.device) -> Any:
    """Random weights of the real class; the vision tower is a stub that never runs, and frozen as in training."""
    config = Qwen2_5_VLConfig(
        text_config=size.config,
        vision_config={"depth": 1, "hidden_size": 16, "num_heads": 2, "out_hidden_size": size.hidden},
        image_token_id=size.vocabulary - 4,
        video_token_id=size.vocabulary - 3,
        vision_start_token_id=size.vocabulary - 2,
        vision_end_token_id=size.vocabulary - 1,
    )
    with device:
        model = Qwen2_5_VLForConditionalGeneration._from_config(
            config, dtype=size.dtype, attn_implementation=implementation
        )
    if size.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.model.visual.requires_grad_(False)
    return model.train()


def build(scheme: str, size: Size, tokens: int, text: int, device: torch.device) -> tuple[Any, Callable[[], Tensor]]:
    """(model, loss): each call of `loss` is one forward pass. The same weights and sample for every scheme.

    Raises ValueError for a scheme that is none of `SCHEMES`.
    """
    implementations = {"sft": "sdpa", "swim": "sdpa", "released": RELEASED, "eager": "eager"}
    if scheme not in implementations:
        raise ValueError(f"scheme {scheme!r}: choose from {', '.join(SCHEMES)}")
    register_released()
    torch.manual_seed(0)
    model = language_model(size, implementations[scheme], device)
    example = sample(model.config, tokens, text, device)
    if scheme in ("sft", "swim"):
        attach(model)
        objective = Objective(layers=size.supervised, mask_weight=0.0 if scheme == "sft" else 1.0)
        supervised = SupervisedModel(model, objective)

        def supervised_loss() -> Tensor:
            losses = supervised(example.inputs, example.labels_BL, [example.nouns])
            return TEXT_WEIGHT * losses.text + objective.mask_weight * losses.mask

        return model, supervised_loss
    reference = released_maps if scheme == "released" else eager_maps
    mask_PHW = torch.stack(
        [torch.from_numpy(encodings.decode(example.nouns[n].masks[2 * p + 1])) for n, p in example.targets]
    )
    mask_PHW = mask_PHW.float().to(device)
    labels = labelled(example.labels_BL)

    def other() -> Tensor:
        hidden_BLC, map_PHW = reference(model, example, size)
        map_PHW = F.interpolate(map_PHW[:, None], size=MASK_PX, mode="bilinear", align_corners=False)[:, 0]
        text_sum, count = text_loss(model.lm_head, hidden_BLC, *labels)
        return TEXT_WEIGHT * text_sum / count + mask_loss(map_PHW, mask_PHW).mean()

    return model, other


RELEASED = "released_sdpa"


@dataclass
class Recorder:
    """What the released scheme keeps of every layer: [1, H, R, K] in the model's dtype."""

    first_text: int
    columns: slice
    copy: bool
    maps: dict[int, Tensor] = field(default_factory=dict)

    def read(self, layer: int, query_BHLD: Tensor, key_BGLD: Tensor, scaling: float) -> None:
        """Softmax over all keys, future ones included, of every text token after the video."""
        query_BHRD = query_BHLD[:, :, self.first_text :]
        B, H, R, D = query_BHRD.shape
        query_BGQD = query_BHRD.reshape(B, key_BGLD.shape[1], -1, D)
        a_BHRL = torch.softmax(query_BGQD @ key_BGLD.transpose(2, 3) * scaling, dim=-1).reshape(B, H, R, -1)
        a_BHRK = a_BHRL[..., self.columns]
        # Softmax keeps its whole rows for the backward pass anyway: a view costs nothing more. Under checkpointing it
        # does not, and a copy of the visual columns is the smaller. Either way the cheapest reading of the scheme.
        self.maps.setdefault(layer, a_BHRK.clone() if self.copy else a_BHRK)


def register_released() -> None:
    """Make `RELEASED` an attention implementation: sdpa, and the recorder where one is handed over."""

    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        recorder: Recorder | None = kwargs.pop("recorder", None)
        if recorder is not None:
            recorder.read(module.layer_idx, query, key, kwargs["scaling"])  # type: ignore[arg-type]
        result: tuple[Tensor, Tensor | None] = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, attention_mask, **kwargs
        )
        return result

    AttentionInterface.register(RELEASED, attention)
    AttentionMaskInterface.register(RELEASED, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def released_maps(model: Any, example: Sample, size: Size) -> tuple[Tensor, Tensor]:
    """Hidden states and the maps [P, H', W']: the token before each noun, heads averaged, product over the supervised
    layers ÷ (its sum + 1e-6), min-max per patch. All layers are kept, as the release does."""
    first_text = example.columns.stop + 1  # the token that closes the video is none of the text
    recorder = Recorder(first_text, example.columns, size.checkpointing)
    hidden_BLC = model.model(**example.inputs, use_cache=False, recorder=recorder).last_hidden_state
    rows = [noun.tokens[0] - 1 - first_text for noun in example.nouns]
    a_SNK = torch.stack([recorder.maps[layer][0, :, rows].float().mean(0) for layer in size.supervised])
    product_NK = a_SNK.prod(0)
    map_PHW = _cells(product_NK / (product_NK.sum(-1, keepdim=True) + 1e-6), example)
    low_P11, high_P11 = map_PHW.amin((1, 2), keepdim=True), map_PHW.amax((1, 2), keepdim=True)
    return hidden_BLC, (map_PHW - low_P11) / (high_P11 - low_P11 + 1e-6)


def eager_maps(model: Any, example: Sample, size: Size) -> tuple[Tensor, Tensor]:
    """Hidden states and the paper's maps [P, H', W'] out of every map of every layer, [1, H, L, L] each: the noun's
    row, renormalised over the video, heads and supervised layers averaged."""
    out = model.model(**example.inputs, use_cache=False, output_attentions=True)
    rows = [noun.tokens[-1] for noun in example.nouns]
    a_SHNK = torch.stack([out.attentions[layer][0, :, rows, example.columns].float() for layer in size.supervised])
    return out.last_hidden_state, _cells((a_SHNK / a_SHNK.sum(-1, keepdim=True)).mean((0, 1)), example)


def _cells(a_NK: Tensor, example: Sample) -> Tensor:
    nouns, patches = zip(*example.targets, strict=True)
    return a_NK.reshape(-1, *example.grid)[list(nouns), list(patches)]
