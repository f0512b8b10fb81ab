"""A frozen Qwen vision tower as a GPU runs it best: one attention call a layer, MLP widths that fill matrix units.

Measured on an H200 for Qwen2.5-VL-7B and 30,752 patches: transformers calls sdpa once a window, 14,368 times a forward
pass, which takes 0.860 s; one call a layer takes 0.245 s. Of that, 110 ms are matrix products of width 3420, which fall
back to older kernels because 3420 is no multiple of 8.

Dimensions: L patches of all frames in one row, H heads, D head width.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

# transformers hands the boundaries of frames and windows to an implementation with "flash" in its name, and calls any
# other once a window.
VARLEN = "swim_varlen_flash"
WIDTH_MULTIPLE = 64
# Linear layers of an MLP by name: those whose outputs are its hidden units, and the one that reads them.
MLPS = ((("gate_proj", "up_proj"), "down_proj"), (("linear_fc1",), "linear_fc2"), (("fc1",), "fc2"))


def prepare_vision(model: Any, device: torch.device, sharded: bool = False) -> None:
    """Both of the below where the model will run on a GPU and its tower is laid out as Qwen's; nothing on a CPU.

    `sharded`: MLPs keep their widths, since shares of a weight are not padded.
    """
    visual = getattr(model.model, "visual", None)
    if device.type != "cuda" or visual is None:
        return
    use_varlen_attention(visual)
    if not sharded:
        pad_mlps(visual)


def use_varlen_attention(visual: Any) -> None:
    """Switch a tower to one attention call a layer. Only for a tower without gradients: the kernel is called without
    its backward pass."""
    AttentionInterface.register(VARLEN, varlen_attention)
    visual.config._attn_implementation = VARLEN


def varlen_attention(
    module: nn.Module,
    query_1HLD: Tensor,
    key_1HLD: Tensor,
    value_1HLD: Tensor,
    attention_mask: None,
    *,
    scaling: float,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within each of the consecutive sequences that `cu_seq_lens_q` bounds, [1, L, H, D].

    On a GPU that has it, in 16 bits, one call of FlashAttention, which is part of torch; else sdpa, a call a sequence.
    Raises RuntimeError where a gradient would be needed.
    """
    qkv = (query_1HLD, key_1HLD, value_1HLD)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in qkv):
        raise RuntimeError("the vision tower runs with gradients: freeze it and run it under torch.no_grad()")
    if query_1HLD.is_cuda and query_1HLD.dtype.itemsize == 2 and _has_flash(query_1HLD.device):
        rows_LHD = [tensor[0].transpose(0, 1) for tensor in qkv]
        bounds = cu_seq_lens_q.to(torch.int32)
        # The operator under torch.nn.attention.varlen, whose own signature differs between torch 2.10 and 2.13.
        out_LHD = torch.ops.aten._flash_attention_forward(
            *rows_LHD, bounds, bounds, max_length_q, max_length_q, 0.0, False, False, scale=scaling
        )[0]
        return out_LHD[None], None
    lengths = cu_seq_lens_q.diff().tolist()
    parts = zip(*(torch.split(tensor, lengths, dim=2) for tensor in qkv), strict=True)
    out_1HLD = torch.cat([F.scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in parts], dim=2)
    return out_1HLD.transpose(1, 2), None


@cache
def _has_flash(device: torch.device) -> bool:
    # The kernel raises on GPUs before Ampere, and where torch was built without it.
    return torch.backends.cuda.is_flash_attention_available() and torch.cuda.get_device_capability(device) >= (8, 0)


def pad_mlps(visual: nn.Module, multiple: int = WIDTH_MULTIPLE) -> int:
    """Widen the MLPs of a frozen tower with zeros to a multiple of `multiple`; returns how many were.

    Outputs are equal: the added units are multiplied by zero weights. State dicts have the original shapes in both
    directions, so that what is saved is a plain checkpoint. Raises ValueError for weights that are trained.
    """
    padded = 0
    for name, module in visual.named_modules():
        for outer, inner in MLPS:
            if not all(isinstance(getattr(module, part, None), nn.Linear) for part in (*outer, inner)):
                continue
            if any(parameter.requires_grad for parameter in module.parameters()):
                raise ValueError(f"{name}: its weights are trained, and so would its padding be; freeze the tower")
            width = getattr(module, inner).in_features
            extra = math.ceil(width / multiple) * multiple - width
            if extra:
                for part in outer:
                    _pad_linear(getattr(module, part), width, extra, "out_features")
                _pad_linear(getattr(module, inner), width, extra, "in_features")
                padded += 1
    return padded


def _pad_linear(linear: nn.Linear, width: int, extra: int, side: str) -> None:
    names = ["weight", "bias"] if side == "out_features" and linear.bias is not None else ["weight"]
    # F.pad names the last dimension first.
    pads = {"weight": (0, 0, 0, extra) if side == "out_features" else (0, extra), "bias": (0, extra)}

    def cut(tensor: Tensor) -> Tensor:
        return tensor[:width] if side == "out_features" else tensor[:, :width]

    def save_hook(_module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
        state.update({prefix + name: cut(state[prefix + name]) for name in names if prefix + name in state})

    def load_hook(_module: nn.Module, state: dict[str, Any], prefix: str, *_rest: Any) -> None:
        state.update(
            {prefix + name: F.pad(state[prefix + name], pads[name]) for name in names if prefix + name in state}
        )

    for name in names:
        setattr(linear, name, nn.Parameter(F.pad(getattr(linear, name).data, pads[name]), requires_grad=False))
    setattr(linear, side, width + extra)
    linear.register_state_dict_post_hook(save_hook)  # type: ignore[no-untyped-call]
    linear.register_load_state_dict_pre_hook(load_hook)  # type: ignore[no-untyped-call]
