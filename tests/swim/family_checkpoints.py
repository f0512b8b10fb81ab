"""Tiny random checkpoints of five families in folders, as a recipe names them: the real classes, and the embedded
tokenizer with the family's special tokens."""

from pathlib import Path
from typing import Any

from tiny_families import FAMILIES

from swim import registry
from swim.data.synthetic.tokenizer import build_tokenizer
from swim.recipe import HubModel

LAYERS = 3
CELL_PX = {"qwen2_vl": 16, "qwen2_5_vl": 16, "qwen3_vl": 16, "llava_onevision": 4, "smolvlm": 4}
# Ids of the config that name tokens.
_QWEN = {
    "video_token_id": "<|video_pad|>",
    "image_token_id": "<|image_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
TOKENS = {
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "llava_onevision": {"video_token_id": "<video>", "image_token_id": "<image>"},
    "smolvlm": {"image_token_id": "<image>"},
}


def tokenizer_of(name: str) -> Any:
    """The embedded tokenizer with all tokens of a family."""
    tokenizer = build_tokenizer()
    tokens = {*TOKENS[name].values(), *registry.load("swim.models.families", name.replace("_", "-")).tokens}
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(map(str, tokens - set(tokenizer.get_vocab())))})
    return tokenizer


def config_of(name: str, tokenizer: Any) -> Any:
    """The config of a tiny model whose token ids are the tokenizer's."""
    config = FAMILIES[name].model().config
    text = config.get_text_config()
    text.vocab_size, text.max_position_embeddings = len(tokenizer), 2048
    text.pad_token_id = tokenizer.pad_token_id
    for field, token in TOKENS[name].items():
        setattr(config, field, tokenizer.convert_tokens_to_ids(token))
    if "qwen" in name:
        config.vision_config.patch_size = CELL_PX[name] // 2
        config.vision_config.window_size = 2 * CELL_PX[name]  # of Qwen2.5-VL; the others have none
    return config


def checkpoint(name: str, folder: Path, **fields: Any) -> HubModel:
    """A checkpoint in a folder, and the model of a recipe that names it."""
    tokenizer = tokenizer_of(name)
    model = type(FAMILIES[name].model())(config_of(name, tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    given = {"family": name.replace("_", "-"), "layers": LAYERS, "cell_px": CELL_PX[name], "dtype": "float32"}
    return HubModel(path=str(folder), **given | fields)
