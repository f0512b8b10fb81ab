"""`processor_config.json` of a Qwen2.5-VL checkpoint: how its processor makes patches of pictures and videos.

Written as transformers' own classes write it. They need torchvision, which has no build beside a CPU build of torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swim.data.pixels import CLIP, FRAMES_PER_PATCH
from swim.recipe import FramePolicy

FILE = "processor_config.json"
MODEL_TYPE = "qwen2_5_vl"
_BICUBIC = 3  # PIL's number
# Least and most pixels of a picture, in preprocessor_config.json of Qwen/Qwen2.5-VL-7B-Instruct.
HUB_PICTURE_PIXELS = (3_136, 12_845_056)
_STOCK_LEAST_FRAMES = 4


def processor_config(frames: FramePolicy, patch_px: int, merge: int, picture_pixels: tuple[int, int]) -> dict[str, Any]:
    """The file's content. Frames keep the pixel budget of training, pictures have one of their own (least, most);
    `max_frames` is recorded for whoever samples by the processor, which by itself does not."""
    mean, deviation = CLIP
    common = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(mean),
        "image_std": list(deviation),
        "merge_size": merge,
        "patch_size": patch_px,
        "resample": _BICUBIC,
        "rescale_factor": 1 / 255,
        "temporal_patch_size": FRAMES_PER_PATCH,
    }
    return {
        "image_processor": common
        | {
            "image_processor_type": "Qwen2VLImageProcessor",
            "size": {"longest_edge": picture_pixels[1], "shortest_edge": picture_pixels[0]},
        },
        "processor_class": "Qwen2_5_VLProcessor",
        "video_processor": common
        | {
            # Training has no such bound over a whole video, and transformers is about to turn it on by default.
            "cap_pixels_per_frame": False,
            "do_sample_frames": False,
            "max_frames": frames.max_frames,
            "max_video_tokens": 128_000,
            "min_frames": FRAMES_PER_PATCH,
            "return_metadata": False,
            "size": {"longest_edge": frames.max_pixels, "shortest_edge": frames.min_pixels},
            "video_processor_type": "Qwen2VLVideoProcessor",
        },
    }


def frame_policy(folder: Path, cell_px: int) -> FramePolicy:
    """The frames that the model of a folder was trained on, where `processor_config` says it; else the paper's. Raises
    ValueError for a damaged file."""
    path = folder / FILE
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object: restore it from where the model came from")
    content = content.get("video_processor", {})
    # The budget of a stock processor is not one that the model was trained with: ours begin at fewer frames.
    if content.get("min_frames", _STOCK_LEAST_FRAMES) >= _STOCK_LEAST_FRAMES:
        return FramePolicy(cell_px=cell_px)
    size = content["size"]
    return FramePolicy(
        max_frames=content["max_frames"],
        min_pixels=size["shortest_edge"],
        max_pixels=size["longest_edge"],
        cell_px=cell_px,
    )
