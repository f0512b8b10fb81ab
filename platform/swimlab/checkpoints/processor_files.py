"""`processor_config.json` of a Qwen2.5-VL checkpoint: how its processor makes patches of pictures and videos.

Written as transformers' own classes write it. They need torchvision, which has no build beside a CPU build of torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swim.data.encode import FRAMES_PER_PATCH, PIXEL_MEAN, PIXEL_STD
from swim.recipe import FramePolicy

FILE = "processor_config.json"
_BICUBIC = 3  # PIL's number


def processor_config(frames: FramePolicy, patch_px: int, merge: int) -> dict[str, Any]:
    """The file's content. Frames keep the pixel budget of training; `max_frames` is recorded for whoever samples by the
    processor, which by itself does not."""
    common = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(PIXEL_MEAN),
        "image_std": list(PIXEL_STD),
        "merge_size": merge,
        "patch_size": patch_px,
        "resample": _BICUBIC,
        "rescale_factor": 1 / 255,
        "size": {"longest_edge": frames.max_pixels, "shortest_edge": frames.min_pixels},
        "temporal_patch_size": FRAMES_PER_PATCH,
    }
    return {
        "image_processor": common | {"image_processor_type": "Qwen2VLImageProcessor"},
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
            "video_processor_type": "Qwen2VLVideoProcessor",
        },
    }


def frame_policy(folder: Path, cell_px: int) -> FramePolicy:
    """The frames that a checkpoint's processor is made for; the paper's where a folder, or a field, says nothing.

    Reads what `processor_config` writes, and the `preprocessor_config.json` of the hub's own checkpoints. Raises
    ValueError for a file that is no JSON object.
    """
    content: dict[str, Any] = {}
    for name in (FILE, "video_preprocessor_config.json", "preprocessor_config.json"):
        if (path := folder / name).is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError(f"{path} holds no JSON object: restore it from where the model came from")
            content = content.get("video_processor", content)
            break
    size = content.get("size") or {}
    given = {
        "max_frames": content.get("max_frames"),
        "min_pixels": size.get("shortest_edge"),
        "max_pixels": size.get("longest_edge"),
    }
    ours = content.get("min_frames") == FRAMES_PER_PATCH
    policy = FramePolicy(cell_px=cell_px)
    return policy.model_copy(update={k: v for k, v in given.items() if v is not None}) if ours else policy
