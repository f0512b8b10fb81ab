"""The text layers of a Qwen2.5-VL of random weights: their sizes, transformers' config of them, and what a step of them
computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TextShape:
    """The sizes of the text layers, embeddings and head."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int

    @property
    def config(self) -> dict[str, Any]:
        """`text_config` of transformers' `Qwen2_5_VLConfig`."""
        half = self.hidden // self.heads // 2
        time = half // 4
        return {
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "bos_token_id": None,
            "eos_token_id": None,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [time, (half - time) // 2, half - time - (half - time) // 2],
            },
        }

    @property
    def matrix_parameters(self) -> int:
        """Weights that every token is multiplied with: attention and MLP, without embeddings and head."""
        attention = 2 * self.hidden**2 + 2 * self.hidden * (self.hidden // self.heads) * self.kv_heads
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    def step_flops(self, tokens: int) -> float:
        """Floating-point operations of forward and backward of one conversation in the text layers, causal attention
        counted once: 6·N·L + 6·layers·hidden·L², without recomputation, head and tower."""
        return 6.0 * tokens * self.matrix_parameters + 6.0 * self.layers * self.hidden * tokens**2
