"""How fast a trial trains, and how much of its GPU it uses: measured while it runs, without its first step, in which
kernels are compiled and memory is first allocated."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from swim.supervision.objective import stock
from swim.train import Moment
from swimlab.experiment import cards


@dataclass(frozen=True)
class Speed:
    """`tokens_per_s`: over all workers, padding not counted. `model_flops_per_s`: of the text tower on one device,
    without head, vision tower and recomputation; `mfu`: its share of the card's dense bf16 peak, None where that is not
    known."""

    tokens_per_s: float
    model_flops_per_s: float
    mfu: float | None


@dataclass(frozen=True)
class StepFlops:
    """Floating-point operations of forward and backward pass of a text tower: 2 a weight for each of forward pass,
    gradient of the activations and, of trained weights, gradient of the weight; 6 · layers · width · tokens² of causal
    attention."""

    a_token: float
    a_squared_token: float

    @classmethod
    def of(cls, module: nn.Module) -> StepFlops:
        """Of a `SupervisedModel`, wrapped or not."""
        inner: Any = getattr(module, "module", module)
        decoder = stock(inner.model).get_decoder()
        matrices = [weight for weight in decoder.layers.parameters() if weight.dim() == 2]
        heads = decoder.config.num_attention_heads
        width = heads * (getattr(decoder.config, "head_dim", None) or decoder.config.hidden_size // heads)
        return cls(
            sum(weight.numel() * (6.0 if weight.requires_grad else 4.0) for weight in matrices),
            6.0 * len(decoder.layers) * width,
        )


class SpeedMeter:
    """Measures from the end of the first step that it is told of to the end of the last."""

    def __init__(self, device: torch.device, world: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._world = clock, world
        card = cards.of_device(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self._peak = card.flops_per_s if card else None
        self._flops: StepFlops | None = None
        self._first: tuple[float, int, int] | None = None
        self._last: tuple[float, int, int] | None = None

    def step(self, now: Moment, hosted_s: float) -> None:
        """A step has just ended. `hosted_s`: how much of the time so far was spent on something else."""
        self._flops = self._flops or StepFlops.of(now.module)
        self._last = (self._clock() - hosted_s, now.tokens, now.squared_tokens)
        self._first = self._first or self._last

    @property
    def speed(self) -> Speed | None:
        """None before the second step."""
        if self._flops is None or self._first is None or self._last is None:
            return None
        took_s, tokens, squared = (last - first for last, first in zip(self._last, self._first, strict=True))
        if took_s <= 0 or tokens <= 0:
            return None
        flops_per_s = (tokens * self._flops.a_token + squared * self._flops.a_squared_token) / took_s
        return Speed(tokens / took_s * self._world, flops_per_s, flops_per_s / self._peak if self._peak else None)
