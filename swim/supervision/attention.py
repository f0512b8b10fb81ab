"""AttentionProbe: what noun tokens attend to among visual tokens, read during an ordinary forward pass.

Stock transformers: an attention function registered beside `sdpa` and `eager` calls the original for the output and, in
the probed layers only, recomputes the few rows we need from the same (post-RoPE) queries and keys. Nothing is patched,
no L × L matrix is kept. The probe travels as a keyword of `model(...)`, so gradient checkpointing (non-reentrant), DDP
and concurrent models cannot mix it up.

Dimensions: B samples, R noun rows per sample (padded), K visual tokens per sample (padded), S probed layers, H query
heads, G key/value heads, L sequence length, D head width.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from swim.recipe import Domain

PREFIX = "swim_"
BASES = ("sdpa", "eager")


@dataclass
class AttentionProbe:
    """Which rows and columns to read at which layers, and what was read.

    `rows_BR` positions of the query tokens, `columns_BK` positions of the visual tokens (padding repeats position 0),
    `valid_BK` marks real columns, `frame_BK` numbers each column's temporal patch. `domain` is where the softmax runs:
    the whole video (paper, eq. 5) or each temporal patch on its own.
    """

    layers: tuple[int, ...]
    rows_BR: Tensor
    columns_BK: Tensor
    valid_BK: Tensor
    frame_BK: Tensor
    domain: Domain = "video"
    maps: dict[int, Tensor] = field(default_factory=dict)

    def read(self, layer: int, query_BHLD: Tensor, key_BGLD: Tensor, scaling: float) -> None:
        """Keep softmax(q·kᵀ·scaling) of this layer, mean over heads, fp32. The first call of a layer wins: gradient
        checkpointing runs the layer a second time, and only the first result is part of the loss. The second run still
        computes it, because checkpointing refuses a recomputation that saves fewer tensors than the forward did."""
        if layer not in self.layers:
            return
        B, H, _, D = query_BHLD.shape
        G = key_BGLD.shape[1]
        rows = self.rows_BR[:, None, :, None].expand(B, H, -1, D)
        columns = self.columns_BK[:, None, :, None].expand(B, G, -1, D)
        # fp32 whatever the model runs in: bf16 scores move the map by percents (8 bits of mantissa before the exp).
        q_BGQD = query_BHLD.gather(2, rows).float().reshape(B, G, -1, D)
        k_BGKD = key_BGLD.gather(2, columns).float()
        with torch.autocast(query_BHLD.device.type, enabled=False):
            score_BGQK = (q_BGQD @ k_BGKD.transpose(2, 3)) * scaling
        score_BHRK = score_BGQK.reshape(B, H, -1, score_BGQK.shape[-1])
        self.maps.setdefault(layer, self._softmax(score_BHRK).mean(1))

    def _softmax(self, score_BHRK: Tensor) -> Tensor:
        valid_B11K = self.valid_BK[:, None, None]
        score_BHRK = score_BHRK.masked_fill(~valid_B11K, -math.inf)
        if self.domain == "video":
            return torch.softmax(score_BHRK, dim=-1).masked_fill(~valid_B11K, 0.0)
        n_frames = int(self.frame_BK.max()) + 1
        frame_BHRK = self.frame_BK[:, None, None].expand_as(score_BHRK)
        # Each patch's own maximum: under the row's, a patch that is attended e⁻⁸⁷ less than another underflows to 0.
        peak_BHRT = score_BHRK.new_full((*score_BHRK.shape[:-1], n_frames), -math.inf)
        peak_BHRT = peak_BHRT.scatter_reduce(-1, frame_BHRK, score_BHRK.detach(), "amax")
        weight_BHRK = (score_BHRK - peak_BHRT.gather(-1, frame_BHRK)).exp()
        total_BHRT = weight_BHRK.new_zeros(peak_BHRT.shape).scatter_add(-1, frame_BHRK, weight_BHRK)
        return weight_BHRK / total_BHRT.gather(-1, frame_BHRK)

    def stacked_SBRK(self) -> Tensor:
        """The maps in the order of `layers`. Raises RuntimeError when a layer was never reached."""
        if missing := [layer for layer in self.layers if layer not in self.maps]:
            raise RuntimeError(
                f"no attention was read at layers {missing}: call `attach(model)` before the forward pass and hand "
                f"the probe over as `model(..., probe=probe)`"
            )
        return torch.stack([self.maps[layer] for layer in self.layers])


def _probed(base: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    def attention(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        probe: AttentionProbe | None = kwargs.pop("probe", None)
        if base == "eager":
            # Each model family brings its own eager function; it lives in the module that defines the layer.
            forward = sys.modules[type(module).__module__].eager_attention_forward
        else:
            forward = ALL_ATTENTION_FUNCTIONS[base]
        if probe is not None:
            probe.read(module.layer_idx, query, key, kwargs["scaling"])  # type: ignore[arg-type]
        result: tuple[Tensor, Tensor | None] = forward(module, query, key, value, attention_mask, **kwargs)
        return result

    return attention


def attach(model: Any) -> None:
    """Switch a model's language layers to the probed twin of their attention function; output is unchanged.

    Raises ValueError for an implementation without a twin, and for reentrant gradient checkpointing, which drops the
    attention gradient without an error.
    """
    for name in BASES:
        AttentionInterface.register(PREFIX + name, _probed(name))
        # Without its own mask function a custom implementation gets no padding mask, silently.
        AttentionMaskInterface.register(PREFIX + name, ALL_MASK_ATTENTION_FUNCTIONS[name])
    decoder = model.get_decoder() if hasattr(model, "get_decoder") else model
    current = decoder.config._attn_implementation
    refuse_reentrant(model)
    if current.startswith(PREFIX):
        return
    if current not in BASES:
        raise ValueError(f"attention implementation {current!r} has no probed twin; load the model with one of {BASES}")
    decoder.config._attn_implementation = PREFIX + current


def refuse_reentrant(model: nn.Module) -> None:
    """Raise ValueError when gradient checkpointing is on and reentrant: the probe's gradient would vanish silently."""
    for module in model.modules():
        if not getattr(module, "gradient_checkpointing", False):
            continue
        function = getattr(module, "_gradient_checkpointing_func", None)
        if getattr(function, "keywords", {}).get("use_reentrant", False):
            raise ValueError(
                "reentrant gradient checkpointing drops the attention gradient; call "
                "model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={'use_reentrant': False})"
            )
