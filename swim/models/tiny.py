"""A tiny Qwen2.5-VL built offline from the real transformers classes, with a tokenizer trained on the embedded
sentences.

The vision tower is random and frozen, as the paper freezes its pretrained one. Its outputs are standardised per channel
by rescaling the merger's last linear layer, so the checkpoint stays a plain Qwen2.5-VL.
"""

import math
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from swim.data.context import TINY_POSITIONS
from swim.data.pixels import patchify
from swim.data.synthetic.drawing import calibration_frames
from swim.data.synthetic.tokenizer import SPECIAL, build_tokenizer
from swim.recipe import TinyModel


def config(shape: TinyModel, tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    """The config of transformers for a model of this shape."""
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    half = shape.hidden // shape.heads // 2
    # Qwen2.5-VL splits the rotary half-width 16:24:24 over time, height and width.
    section = [half // 4, (half - half // 4) // 2, half - half // 4 - (half - half // 4) // 2]
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": TINY_POSITIONS,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": section},
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision: dict[str, Any] = {
        "depth": shape.vision_depth,
        "hidden_size": shape.vision_hidden,
        "intermediate_size": 2 * shape.vision_hidden,
        "num_heads": 4,
        "patch_size": shape.patch_px,
        "spatial_merge_size": shape.merge,
        "temporal_patch_size": 2,
        "out_hidden_size": shape.hidden,
        # Windowed blocks run one attention call per window; on a CPU full attention over 256 patches is faster.
        "fullatt_block_indexes": list(range(shape.vision_depth)),
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )


def build(shape: TinyModel) -> tuple[Qwen2_5_VLForConditionalGeneration, PreTrainedTokenizerFast]:
    """Fresh weights drawn from `shape.seed`; the global generator is not changed."""
    tokenizer = build_tokenizer(shape.vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(shape.seed)
        model = Qwen2_5_VLForConditionalGeneration(config(shape, tokenizer))
        _spread(model.model.visual)
    _standardise(model.model.visual, shape)
    return model.eval(), tokenizer


def _spread(visual: nn.Module) -> None:
    """Fan-in scaled weights: with the default 0.02 such a narrow tower is almost linear in the pixels."""
    for module in visual.modules():
        if isinstance(module, nn.Linear | nn.Conv3d):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))


@torch.no_grad()
def _standardise(visual: nn.Module, shape: TinyModel) -> None:
    frames_NTHWC = calibration_frames(16)
    patches, grids = zip(
        *(patchify(torch.from_numpy(frames_THWC), shape.patch_px, shape.merge) for frames_THWC in frames_NTHWC),
        strict=True,
    )
    features = visual(torch.cat(patches), grid_thw=torch.tensor(grids)).pooler_output
    mean, std = features.mean(0), features.std(0)
    last: nn.Linear = visual.merger.mlp[-1]  # type: ignore[union-attr,assignment,index]
    last.weight /= std[:, None]
    last.bias.copy_((last.bias - mean) / std)
