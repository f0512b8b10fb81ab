"""SWIM's objective: text_weight · cross-entropy + mask_weight · mask loss on the nouns' attention (paper, eqs. 5-7).

Every loss here is a sum beside its count, so that the caller divides by the global count of the optimiser batch: a
batch is then the count-weighted mean of its samples, whatever the micro-batches and ranks.

Dimensions: B samples, R noun rows (padded), K visual tokens (padded), S layers, P supervised maps (noun row × annotated
temporal patch), H' × W' visual tokens of a patch.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swim import registry
from swim.data.encode import IGNORE, Batch, Encoded, NounRow
from swim.recipe import Domain, Objective, Query
from swim.supervision.attention import AttentionProbe


@dataclass(frozen=True)
class Losses:
    """Sums and what they are counted over: label tokens, supervised maps."""

    text_sum: Tensor
    text_count: int
    mask_sum: Tensor
    mask_count: int


@dataclass(frozen=True)
class PatchMap:
    """One noun's fused map on one temporal patch; the target is rendered on demand."""

    sample: int
    noun: NounRow
    patch: int
    map_HW: Tensor


def plan_probe(
    batch: Batch, layers: tuple[int, ...], query: Query, domain: Domain, device: torch.device
) -> AttentionProbe | None:
    """Rows and columns of every tag of a batch; None when the batch has no tag."""
    rows = [[noun.query(query) for noun in s.nouns] for s in batch.samples]
    width = max(map(len, rows))
    if width == 0:
        return None
    columns = [s.is_video_L.nonzero()[:, 0] for s in batch.samples]
    frames = [
        torch.arange(len(c)) // (s.token_grid[1] * s.token_grid[2]) for s, c in zip(batch.samples, columns, strict=True)
    ]
    pad = torch.nn.utils.rnn.pad_sequence
    return AttentionProbe(
        layers=layers,
        rows_BR=torch.tensor([r + [0] * (width - len(r)) for r in rows]).to(device),
        columns_BK=pad(columns, batch_first=True).to(device),
        valid_BK=pad([torch.ones_like(c, dtype=torch.bool) for c in columns], batch_first=True).to(device),
        frame_BK=pad(frames, batch_first=True).to(device),
        domain=domain,
    )


def fused_maps(batch: Batch, a_SBRK: Tensor, fusion: str, normalise: str, tags: list[list[NounRow]]) -> list[PatchMap]:
    """Fuse over layers, cut into temporal patches, normalise each; only the listed tags, only annotated patches."""
    a_BRK = registry.load("swim.supervision.fusion", fusion)(a_SBRK)
    normal = registry.load("swim.supervision.normalise", normalise)
    found: list[PatchMap] = []
    for b, (sample, nouns) in enumerate(zip(batch.samples, tags, strict=True)):
        T, H, W = sample.token_grid
        for noun in nouns:
            patches = sample.annotated_patches(noun.tag)
            if patches:
                map_PHW = normal(a_BRK[b, noun.tag, : T * H * W].reshape(T, H, W)[patches])
                found += [PatchMap(b, noun, p, m) for p, m in zip(patches, map_PHW, strict=True)]
    return found


def upsample(map_PHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, align_corners=False (paper, section 3.2)."""
    return F.interpolate(map_PHW[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def stock(model: Any) -> Any:
    """The transformers model inside PEFT's wrapper, or the model itself where there is none."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class SupervisedModel(nn.Module):
    """A model and its objective as one module, so that DDP sees a single forward. `forward(batch) -> Losses`."""

    def __init__(self, model: Any, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> Losses:
        device = batch.labels_BL.device
        config = self.objective
        probe = None
        if config.mask_weight > 0:
            probe = plan_probe(batch, config.layers, config.query, config.domain, device)
        model = stock(self.model)
        hidden_BLD = model.model(**batch.inputs, use_cache=False, probe=probe).last_hidden_state
        text_sum, text_count = text_loss(model.lm_head, hidden_BLD, batch.labels_BL)
        mask_sum, mask_count = hidden_BLD.new_zeros((), dtype=torch.float32), 0
        if probe is not None:
            a_SBRK = probe.stacked_SBRK()
            if hidden_BLD.requires_grad and not a_SBRK.requires_grad:
                raise RuntimeError(
                    f"the attention at layers {config.layers} carries no gradient: gradient checkpointing is "
                    "reentrant, or q_proj and k_proj up to there are frozen"
                )
            mask_sum, mask_count = mask_loss(batch, a_SBRK, config)
        return Losses(text_sum, text_count, mask_sum, mask_count)


def text_loss(lm_head: nn.Module, hidden_BLD: Tensor, labels_BL: Tensor) -> tuple[Tensor, int]:
    """Next-token cross-entropy, summed, and its count. The head runs on labelled positions only: logits are the largest
    tensor of a step (4,096 × 152,064 in fp32 is 2.5 GB), and almost none of them is used."""
    target_BL = labels_BL[:, 1:]
    keep_BL = target_BL != IGNORE
    logits_NV = lm_head(hidden_BLD[:, :-1][keep_BL]).float()
    return F.cross_entropy(logits_NV, target_BL[keep_BL], reduction="sum"), int(keep_BL.sum())


def mask_loss(batch: Batch, a_SBRK: Tensor, config: Objective) -> tuple[Tensor, int]:
    """The mask loss summed over supervised maps, and their count. fp32."""
    maps = fused_maps(batch, a_SBRK, config.fusion, config.normalise, [list(s.nouns) for s in batch.samples])
    by_size: dict[tuple[int, int, int, int], list[PatchMap]] = defaultdict(list)
    for item in maps:
        sample = batch.samples[item.sample]
        size = sample.clip.frames_THWC.shape[1:3] if config.resize == "map-to-mask" else tuple(item.map_HW.shape)
        by_size[(*item.map_HW.shape, *size)].append(item)
    loss = registry.load("swim.supervision.losses", config.mask_loss)
    total = a_SBRK.new_zeros(())
    for (_, _, height, width), items in by_size.items():
        map_PHW = torch.stack([item.map_HW for item in items])
        mask_PHW = targets(batch.samples, items, (height, width)).to(map_PHW.device)
        if config.resize == "map-to-mask":
            map_PHW = upsample(map_PHW, (height, width))
        total = total + loss(map_PHW.clamp(0, 1), mask_PHW).sum()
    return total, len(maps)


def targets(samples: tuple[Encoded, ...], items: list[PatchMap], size: tuple[int, int]) -> Tensor:
    """The masks of some maps at one size, [P, *size] fp32; each track is rendered once."""
    rendered: dict[tuple[int, int], Any] = {}
    for item in items:
        key = (item.sample, item.noun.track)
        if key not in rendered:
            rendered[key] = samples[item.sample].patch_masks(item.noun.track, size)[0]
    return torch.from_numpy(np.stack([rendered[item.sample, item.noun.track][item.patch] for item in items]))
