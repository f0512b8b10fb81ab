"""AttentionProbe: the attention of noun tokens to visual tokens, read during an ordinary forward pass.

Stock transformers: an attention function registered beside `sdpa` and `eager` calls the original for the output and, in
the probed layers only, recomputes the needed rows from the same (post-RoPE) queries and keys. No model code is patched
and no L × L matrix is kept. The probe is a keyword of `model(...)`, so that gradient checkpointing (non-reentrant), DDP
and concurrent models cannot mix up probes.

Dimensions: B batch rows, N documents with nouns, R noun rows per document (padded), K visual tokens per document
(padded), S probed layers, H query heads, G key/value heads, L sequence length, D head width.
"""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from swim import registry
from swim.supervision.blinding import BlindRows
from swim.supervision.frozen_tower import keep_out_of_graph
from swim.supervision.unsupported import refuse_changed_logits, refuse_changed_scores

PREFIX = "swim_"
BASES = ("sdpa", "eager")


@dataclass(frozen=True)
class Scores:
    """q·kᵀ·scaling of the noun rows, fp32. `visual_NHRK`: against the visual tokens, padding -inf; `frame_NK`: the
    temporal patch of each; `row_NR`: the rows, counted from the document's start; `every_NHRL()`: against all tokens of
    the document, computed only for the domains that call it, padding -inf."""

    visual_NHRK: Tensor
    frame_NK: Tensor
    row_NR: Tensor
    every_NHRL: Callable[[], Tensor]


class AttentionProbe:
    """The rows and columns to read at some layers, and the maps read.

    `row_N` is the batch row of a document, `start_N` and `end_N` its tokens there; `rows_NR` are positions of the query
    tokens (padding repeats one), `columns_NK` of the visual tokens, of which `valid_NK` marks the real ones. `domain`
    names the tokens of the softmax, `heads` the reduction over heads, `chosen_heads` restricts them (empty: all).
    """

    # No dataclass: FSDP2 traverses dataclasses among a layer's arguments, finds the maps of earlier layers, and passes
    # the layer a copy of the probe, so that the caller does not get the map.
    def __init__(
        self,
        layers: tuple[int, ...],
        row_N: Tensor,
        start_N: Tensor,
        end_N: Tensor,
        rows_NR: Tensor,
        columns_NK: Tensor,
        valid_NK: Tensor,
        frame_NK: Tensor,
        domain: str = "video",
        heads: str = "mean",
        chosen_heads: tuple[int, ...] = (),
    ) -> None:
        self.layers = layers
        self.row_N, self.start_N, self.end_N = row_N, start_N, end_N
        self.rows_NR, self.columns_NK, self.valid_NK, self.frame_NK = rows_NR, columns_NK, valid_NK, frame_NK
        self.domain, self.heads, self.chosen_heads = domain, heads, chosen_heads
        # A number, because to ask a GPU for it in every layer would wait for that layer.
        self.longest = int((end_N - start_N).max())
        self.maps: dict[int, Tensor] = {}

    def each(self, change: Callable[[Tensor], Tensor]) -> AttentionProbe:
        """A probe that has read nothing yet, with every tensor of its rows and columns changed."""
        probe = copy.copy(self)
        for name in ("row_N", "start_N", "end_N", "rows_NR", "columns_NK", "valid_NK", "frame_NK"):
            setattr(probe, name, change(getattr(self, name)))
        probe.maps = {}
        return probe

    def blind_rows(self) -> BlindRows:
        """The probe's rows, to be made blind to its columns."""
        return BlindRows(self.row_N, self.rows_NR, self.columns_NK, self.valid_NK)

    def read(self, layer: int, query_BHLD: Tensor, key_BGLD: Tensor, scaling: float) -> None:
        """Stores this layer's map. The first call of a layer counts: gradient checkpointing runs the layer a second
        time, and only the first result is part of the loss. The second run still computes the map, because
        checkpointing raises when a recomputation saves fewer tensors than the forward pass."""
        if layer in self.layers:
            query_NRHD = query_BHLD.transpose(1, 2)[self.row_N[:, None], self.rows_NR]
            # A map's graph must not refer to the map: such a cycle is only freed after two passes of the garbage
            # collector.
            empty = copy.copy(self)
            empty.maps = {}
            a_NRK = _ProbedAttention.apply(query_NRHD, key_BGLD, empty, scaling)  # type: ignore[no-untyped-call]
            self.maps.setdefault(layer, a_NRK)

    def attention(self, query_NRHD: Tensor, key_BGLD: Tensor, scaling: float) -> Tensor:
        """The map of one layer, [N, R, K] fp32: exp(score − log Z), Z being the domain's, then one map out of heads."""
        key_BLGD = key_BGLD.transpose(1, 2)
        N, R, H, D = query_NRHD.shape
        G = key_BGLD.shape[1]
        # fp32 for any dtype of the model: bf16 scores change the map by percents (8 bits of mantissa before the exp).
        query_NGQD = query_NRHD.float().permute(0, 2, 1, 3).reshape(N, G, H // G * R, D)

        def score_NHRC(position_NC: Tensor, valid_NC: Tensor) -> Tensor:
            key_NGDC = key_BLGD[self.row_N[:, None], position_NC].permute(0, 2, 3, 1).float()
            score = (query_NGQD @ key_NGDC * scaling).reshape(N, H, R, -1)
            return score.masked_fill(~valid_NC[:, None, None], -math.inf)

        def every_NHRL() -> Tensor:
            length_N1 = (self.end_N - self.start_N)[:, None]
            offset_1L = torch.arange(self.longest, device=length_N1.device)[None]
            valid_NL = offset_1L < length_N1
            return score_NHRC(torch.where(valid_NL, offset_1L, 0) + self.start_N[:, None], valid_NL)

        with torch.autocast(query_NRHD.device.type, enabled=False):
            visual_NHRK = score_NHRC(self.columns_NK, self.valid_NK)
            scores = Scores(visual_NHRK, self.frame_NK, self.rows_NR - self.start_N[:, None], every_NHRL)
            log_z = registry.load("swim.supervision.domain", self.domain)(scores)
            a_NHRK = (visual_NHRK - log_z).exp()
            if self.chosen_heads:
                a_NHRK = a_NHRK[:, list(self.chosen_heads)]
            a_NRK: Tensor = registry.load("swim.supervision.heads", self.heads)(a_NHRK)
        return a_NRK

    def stacked_SNRK(self) -> Tensor:
        """The maps in the order of `layers`. Raises RuntimeError when a layer was never reached."""
        if missing := [layer for layer in self.layers if layer not in self.maps]:
            raise RuntimeError(
                f"no attention was read at layers {missing}: call `attach(model)` before the forward pass and pass "
                f"the probe as `model(..., probe=probe)`"
            )
        return torch.stack([self.maps[layer] for layer in self.layers])


class _ProbedAttention(torch.autograd.Function):
    """`AttentionProbe.attention` without scores in memory for the backward pass: it saves a few query rows and the key
    tensor, which the layer's own attention saves anyway, and computes the rows again (R of L rows, so at low cost)."""

    @staticmethod
    def forward(ctx: Any, query_NRHD: Tensor, key_BGLD: Tensor, probe: AttentionProbe, scaling: float) -> Tensor:
        ctx.save_for_backward(query_NRHD, key_BGLD)
        ctx.probe, ctx.scaling = probe, scaling
        return probe.attention(query_NRHD, key_BGLD, scaling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NRK: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        saved = [
            tensor.detach().requires_grad_(needed)
            for tensor, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
        ]
        with torch.enable_grad():
            a_NRK = ctx.probe.attention(*saved, ctx.scaling)
        inputs = [tensor for tensor in saved if tensor.requires_grad]
        grads = iter(torch.autograd.grad(a_NRK, inputs, grad_NRK))
        query, key = (next(grads) if tensor.requires_grad else None for tensor in saved)
        return query, key, None, None


def _probed_attention(base: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        probe: AttentionProbe | None = kwargs.pop("probe", None)
        blind: tuple[BlindRows, ...] = kwargs.pop("blind", ())
        if base == "eager":
            # Each model family has its own eager function, in the module that defines the layer.
            forward = sys.modules[type(module).__module__].eager_attention_forward
        else:
            forward = ALL_ATTENTION_FUNCTIONS[base]
        if probe is not None and module.layer_idx in probe.layers:
            layer: int = module.layer_idx  # type: ignore[assignment]
            refuse_changed_scores(module, layer, kwargs, probe.start_N, probe.end_N, key.shape[2])
            probe.read(layer, query, key, kwargs["scaling"])
        result: tuple[Tensor, Tensor | None] = forward(module, query, key, value, attention_mask, **kwargs)
        for rows in blind:
            result = rows.apply(result, forward, module, query, key, value, attention_mask, kwargs)
        return result

    return attention


def attach(model: Any) -> None:
    """Switches a model's language layers to the probed version of their attention function, and keeps a frozen vision
    tower out of the graph; output is unchanged.

    Raises ValueError for an implementation without such a version, for reentrant gradient checkpointing, which drops
    the attention gradient without an error, and for a model that changes its logits behind the head.
    """
    for name in BASES:
        AttentionInterface.register(PREFIX + name, _probed_attention(name))
        # Without its own mask function a custom implementation gets no padding mask, silently.
        AttentionMaskInterface.register(PREFIX + name, ALL_MASK_ATTENTION_FUNCTIONS[name])
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    current = decoder.config._attn_implementation
    refuse_reentrant(model)
    refuse_changed_logits(decoder.config)
    keep_out_of_graph(model)
    if current.startswith(PREFIX):
        return
    if current not in BASES:
        raise ValueError(
            f"attention implementation {current!r} has no probed version; load the model with one of {BASES}"
        )
    decoder.config._attn_implementation = PREFIX + current


def refuse_reentrant(model: nn.Module) -> None:
    """Raises ValueError for reentrant gradient checkpointing, which would silently drop the probe's gradient."""
    for module in model.modules():
        if not getattr(module, "gradient_checkpointing", False):
            continue
        function = getattr(module, "_gradient_checkpointing_func", None)
        if getattr(function, "keywords", {}).get("use_reentrant", False):
            raise ValueError(
                "reentrant gradient checkpointing drops the attention gradient; call "
                "model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={'use_reentrant': False})"
            )
