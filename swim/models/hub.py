"""A Qwen2.5-VL checkpoint from the hub (because the recipe names it) or from a local folder, optionally with LoRA."""

from typing import Any

from transformers import AutoTokenizer

from swim.models.weights import load_weights
from swim.recipe import HubModel


def build(spec: HubModel) -> tuple[Any, Any]:
    """Load weights and tokenizer. Raises OSError (from transformers) when the path or hub id cannot be read."""
    model = load_weights(spec.path, spec.dtype, spec.revision)
    tokenizer = AutoTokenizer.from_pretrained(spec.path, revision=spec.revision)
    if model.config.text_config.num_hidden_layers != spec.layers:
        raise ValueError(
            f"model.layers says {spec.layers}, {spec.path} has {model.config.text_config.num_hidden_layers} layers"
        )
    return model, tokenizer
