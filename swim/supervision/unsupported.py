"""What a model does to its scores or logits that SWIM does not compute: refused, since gradients would be of another
model than the one that runs.

A probe recomputes q·kᵀ·scaling, and the text loss applies the head alone. Both are wrong, without an error, for a model
that caps scores, adds sinks or biases to them, hides part of the row, or changes its logits after the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

# Keywords that the layers of transformers 5.23 give to their attention function and that change its scores.
SCORE_KEYWORDS = {
    "softcap": "scores are capped (config.attn_logit_softcapping)",
    "s_aux": "attention sinks take part in the softmax (the layer's `sinks`)",
    "sinks": "attention sinks take part in the softmax (the layer's `sinks`)",
    "position_bias": "a position bias is added to the scores",
    "indices": "an index decides which tokens are attended to (sparse attention)",
    "block_indices": "an index decides which tokens are attended to (sparse attention)",
}
# Fields of a text config that change the logits behind the head, and the values that change nothing.
LOGIT_FIELDS: dict[str, tuple[Any, ...]] = {
    "final_logit_softcapping": (None,),
    "logits_soft_cap": (None,),
    "output_logit_soft_cap": (None,),
    "logit_scale": (None, 1),
    "logits_scaling": (None, 1),
    "lm_head_multiplier": (None, 1),
}
# Layers that mix tokens without a softmax over them, or not at all (values of config.layer_types).
WITHOUT_SOFTMAX = frozenset({"linear_attention", "mamba", "conv", "moe"})


def refuse_changed_logits(config: Any) -> None:
    """Raises ValueError for a text config whose model changes its logits behind the head."""
    for field, neutral in LOGIT_FIELDS.items():
        value = getattr(config, field, None)
        if value not in neutral:
            raise ValueError(
                f"config.{field} is {value}: the model changes its logits behind the head, and the text loss here does "
                f"not. Use a model without it, or set it to {neutral[-1]} before training if its weights allow that"
            )


def refuse_changed_scores(
    module: nn.Module, layer: int, keywords: Mapping[str, Any], start_N: Tensor, end_N: Tensor, length: int
) -> None:
    """Raises ValueError where the scores of a probed layer are not q·kᵀ·scaling over its whole document.

    `keywords` are those of the attention function; `start_N` and `end_N` the documents read, of a row of `length`
    tokens. A sliding window or chunk that holds every document is none.
    """
    for keyword, what in SCORE_KEYWORDS.items():
        if keywords.get(keyword) is not None:
            raise ValueError(
                f"layer {layer}: {what}, which the probe does not compute. Supervise layers without it "
                "(objective.layers), or use another model"
            )
    config = getattr(module, "config", None)
    types = getattr(config, "layer_types", None)
    field, window = "sliding_window", keywords.get("sliding_window")
    if types and types[layer] == "chunked_attention":
        field, window = "attention_chunk_size", getattr(config, "attention_chunk_size", None)
    # No look at the documents, which on a GPU waits for it, where the whole row fits.
    if window is None or length <= window:
        return
    longest = int((end_N - start_N).max())
    if longest > window:
        raise ValueError(
            f"layer {layer} attends to {window} tokens (config.{field}), and a sample has {longest}: a noun would be "
            "read against visual tokens that it does not see. Supervise layers with full attention (objective.layers; "
            "config.layer_types names them), or shorten the video (data.frames.max_frames, max_pixels)"
        )


def softmax_layers(config: Any) -> tuple[int, ...]:
    """The layers of a text config that have softmax attention, ascending: all, or those that `layer_types` says (every
    fourth of Qwen3.5)."""
    types = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return tuple(layer for layer, kind in enumerate(types) if kind not in WITHOUT_SOFTMAX)
