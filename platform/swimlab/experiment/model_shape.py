"""The widths of a recipe's model, as far as they are known without loading it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swim.recipe import HubModel, Lora, TinyModel


@dataclass(frozen=True)
class Shape:
    """The widths of a model: text tower, then vision tower. `tied`: the head is the embeddings' own matrix; `merge` ×
    `merge` patches of `patch_px` pixels are a visual token; `head_dim`: None where heads share the hidden width;
    `vision_matrices`: of an MLP of the tower, 3 where it is gated; `merger_matrices`: between tower and text;
    `frame_tokens`: visual tokens of a frame where frames of any size have as many, else None."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    vision_hidden: int
    vision_layers: int
    vision_intermediate: int
    tied: bool = False
    patch_px: int = 14
    merge: int = 2
    head_dim: int | None = None
    vision_matrices: int = 3
    merger_matrices: int = 2
    frame_tokens: int | None = None

    @property
    def query_width(self) -> int:
        """The width of all query heads together."""
        return self.heads * (self.head_dim or self.hidden // self.heads)

    @property
    def key_width(self) -> int:
        """The width of all key heads together, which is that of the values."""
        return self.query_width * self.kv_heads // self.heads

    @property
    def layer_weights(self) -> int:
        """The number of weights of one text layer."""
        return 2 * self.hidden * (self.query_width + self.key_width) + 3 * self.hidden * self.intermediate

    @property
    def embedding_weights(self) -> int:
        """The number of weights of embeddings and head."""
        return (1 if self.tied else 2) * self.vocabulary * self.hidden

    @property
    def text_weights(self) -> int:
        """The approximate number of weights of the text tower, embeddings and head included."""
        return self.layers * self.layer_weights + self.embedding_weights

    @property
    def vision_weights(self) -> int:
        """The approximate number of weights of the vision tower."""
        merged = self.merge**2 * self.vision_hidden
        merger = merged * (merged * (self.merger_matrices - 1) + self.hidden)
        return self.vision_layers * self.vision_layer_weights + merger

    @property
    def vision_layer_weights(self) -> int:
        """The number of weights of one layer of the vision tower."""
        return self.vision_hidden * (4 * self.vision_hidden + self.vision_matrices * self.vision_intermediate)

    @property
    def weights(self) -> int:
        """The approximate number of weights of the whole model."""
        return self.text_weights + self.vision_weights

    def adapter_weights(self, lora: Lora) -> int:
        """The number of weights of LoRA's adapters."""
        outer = {"q_proj": self.query_width, "o_proj": self.query_width}
        outer |= {"k_proj": self.key_width, "v_proj": self.key_width}
        widths = (self.hidden + outer.get(target, self.intermediate) for target in lora.targets)
        return self.layers * lora.rank * sum(widths)

    def visual_tokens(self, frames: int, height: int, width: int, cell_px: int) -> int:
        """The visual tokens of a clip of that many resized frames, `cell_px` the side of one."""
        return visual_tokens(frames, height, width, cell_px, self.frame_tokens)

    def patches(self, visual_tokens: int) -> int:
        """The number of patches behind so many visual tokens."""
        return visual_tokens * self.merge**2


def visual_tokens(frames: int, height: int, width: int, cell_px: int, frame_tokens: int | None = None) -> int:
    """The visual tokens of a clip of that many resized frames: `frame_tokens` each where frames of any size have as
    many, else as Qwen's models have it, where two frames share theirs and `cell_px` is the side of one."""
    if frame_tokens is not None:
        return frames * frame_tokens
    return frames // 2 * (height // cell_px) * (width // cell_px)


# From the models' own config.json; a checkpoint on disk says its own.
_VISION = (1280, 32, 3420)
_HUB = {
    "Qwen/Qwen2.5-VL-3B-Instruct": Shape(2048, 36, 16, 2, 11008, 151936, *_VISION, tied=True),
    "Qwen/Qwen2.5-VL-7B-Instruct": Shape(3584, 28, 28, 4, 18944, 152064, *_VISION),
    "Qwen/Qwen2.5-VL-32B-Instruct": Shape(5120, 64, 40, 8, 27648, 152064, *_VISION),
    "Qwen/Qwen2.5-VL-72B-Instruct": Shape(8192, 80, 64, 8, 29568, 152064, *_VISION),
    "Qwen/Qwen3-VL-4B-Instruct": Shape(
        2560, 36, 32, 8, 9728, 151936, 1024, 24, 4096, True, 16, head_dim=128, vision_matrices=2
    ),
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": Shape(
        960, 32, 15, 5, 2560, 49280, 768, 12, 3072, False, 16, 4, vision_matrices=2, merger_matrices=1, frame_tokens=64
    ),
}


def shape_of(model: TinyModel | HubModel) -> Shape | None:
    """The widths of a recipe's model; None where neither a folder nor its name says them."""
    if isinstance(model, TinyModel):
        text = (model.hidden, model.layers, model.heads, model.kv_heads, model.intermediate, 371)
        tower = (model.vision_hidden, model.vision_depth, 2 * model.vision_hidden)
        return Shape(*text, *tower, patch_px=model.patch_px, merge=model.merge)
    try:
        return _of_config(json.loads((Path(model.path) / "config.json").read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return _HUB.get(model.path)


def _of_config(config: dict[str, Any]) -> Shape:
    """The widths in a config.json. Raises KeyError, ValueError or TypeError for one of another kind."""
    text, vision = config.get("text_config", config), config["vision_config"]
    kind = config.get("model_type", "qwen2_5_vl")
    # Qwen2-VL's tower calls its width embed_dim, and gives that of its MLP as a multiple.
    vision_hidden = int(vision.get("embed_dim") or vision["hidden_size"])
    patch_px = int(vision.get("patch_size", 14))
    merge = int(vision.get("spatial_merge_size") or config.get("scale_factor", 2))
    square = {"smolvlm": merge, "llava_onevision": 2}.get(kind)  # patches that become a token; LLaVA pools 2 × 2
    return Shape(
        hidden=int(text["hidden_size"]),
        layers=int(text["num_hidden_layers"]),
        heads=int(text["num_attention_heads"]),
        kv_heads=int(text["num_key_value_heads"]),
        intermediate=int(text["intermediate_size"]),
        vocabulary=int(text["vocab_size"]),
        vision_hidden=vision_hidden,
        vision_layers=int(vision.get("depth") or vision["num_hidden_layers"]),
        vision_intermediate=int(vision.get("intermediate_size") or vision_hidden * vision["mlp_ratio"]),
        tied=bool(config.get("tie_word_embeddings") or text.get("tie_word_embeddings")),
        patch_px=patch_px,
        merge=merge,
        head_dim=text.get("head_dim"),
        vision_matrices=3 if kind == "qwen2_5_vl" else 2,
        merger_matrices=1 if kind == "smolvlm" else 2,
        frame_tokens=math.ceil(vision["image_size"] // patch_px / square) ** 2 if square else None,
    )
