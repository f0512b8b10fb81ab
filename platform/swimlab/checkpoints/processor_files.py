"""`processor_config.json` of a checkpoint: how its processor makes inputs of pictures and videos, by model family
(`swimlab.checkpoints.processors`)."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

from swim import registry
from swim.data.family import Family
from swim.model_family import family_name
from swim.recipe import FramePolicy
from swimlab.checkpoints.processor_parts import STOCK_LEAST_FRAMES

FILE = "processor_config.json"
PROCESSORS = "swimlab.checkpoints.processors"
# Least and most pixels of a picture, in preprocessor_config.json of Qwen/Qwen2.5-VL-7B-Instruct.
HUB_PICTURE_PIXELS = (3_136, 12_845_056)


def processor_of(model_type: str) -> ModuleType:
    """What is known of the processor of models of a `config.model_type`. Raises ValueError, naming the file to write,
    where nothing is."""
    name = family_name(model_type)
    if name not in registry.names(PROCESSORS):
        raise ValueError(
            f"the processor of {model_type} models is not written: add platform/swimlab/checkpoints/processors/"
            f"{model_type}.py, as the others there"
        )
    return registry.module(PROCESSORS, name)


def processor_config(family: Family, frames: FramePolicy, picture_pixels: tuple[int, int]) -> dict[str, Any]:
    """The file's content. Frames keep the pixel budget of training, pictures may have one of their own (least, most).
    Raises ValueError like `processor_of`."""
    content: dict[str, Any] = processor_of(family.config.model_type).config(family, frames, picture_pixels)
    return content


def frame_policy(folder: Path, cell_px: int) -> FramePolicy:
    """The frames that the model of a folder was trained on, where `processor_config` says it; else the paper's. Raises
    ValueError for a damaged file."""
    path = folder / FILE
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object: restore it from where the model came from")
    content = content.get("video_processor", {})
    if {"max_frames", "max_pixels", "min_pixels"} <= set(content):
        least, most = content["min_pixels"], content["max_pixels"]
    elif content.get("min_frames", STOCK_LEAST_FRAMES) < STOCK_LEAST_FRAMES:
        least, most = content["size"]["shortest_edge"], content["size"]["longest_edge"]
    else:  # the budget of a stock processor is not one that the model was trained with
        return FramePolicy(cell_px=cell_px)
    return FramePolicy(max_frames=content["max_frames"], min_pixels=least, max_pixels=most, cell_px=cell_px)
