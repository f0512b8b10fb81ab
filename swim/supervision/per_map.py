"""Losses at mask resolution whose memory does not grow with that resolution.

A 1080p map takes 8 MB in fp32 and a loss keeps several of them for its backward pass, times nouns × frames. Here the
loss and its gradient with respect to the small map are computed together, chunk by chunk, and only the gradient is
kept.

Dimensions: P maps, H × W token cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ChunkLoss = Callable[[Tensor, int], Tensor]


def per_map(map_PHW: Tensor, score: ChunkLoss, chunk: int) -> Tensor:
    """`score(map_CHW, first) -> loss_C` over chunks of at most `chunk` maps, `first` being the first one's number;
    the result is loss_P."""
    if torch.is_grad_enabled() and map_PHW.requires_grad:
        loss_P: Tensor = _PerMap.apply(map_PHW, score, chunk)  # type: ignore[no-untyped-call]
        return loss_P
    return torch.cat([score(map_CHW, i * chunk) for i, map_CHW in enumerate(torch.split(map_PHW, chunk))])


class _PerMap(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, map_PHW: Tensor, score: ChunkLoss, chunk: int) -> Tensor:
        losses: list[Tensor] = []
        grads: list[Tensor] = []
        for i, map_CHW in enumerate(torch.split(map_PHW, chunk)):
            leaf_CHW = map_CHW.detach().requires_grad_()
            with torch.enable_grad():
                loss_C = score(leaf_CHW, i * chunk)
            grads += torch.autograd.grad(loss_C, leaf_CHW, torch.ones_like(loss_C))
            losses.append(loss_C.detach())
        ctx.save_for_backward(torch.cat(grads))
        return torch.cat(losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_P: Tensor) -> tuple[Tensor, None, None]:
        (grad_PHW,) = ctx.saved_tensors
        return grad_PHW * grad_P[:, None, None], None, None
