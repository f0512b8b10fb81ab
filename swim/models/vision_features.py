"""What a frozen vision tower makes of a clip, apart from the model: computed once, it serves every forward pass.

Handed to a model as `mm_encoder_outputs` it takes the place of the pixels. On a CPU a forward pass computes each clip
alone as well (`one_clip_at_a_time`), so that losses have the same bits either way.

Dimensions: T frames, H × W pixels, K visual tokens of a clip, D hidden size of the text model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from swim.data.pixels import patchify
from swim.supervision.frozen_tower import whole_frozen_tower

# Frames of a clip [T, H, W, 3] → its features [K, D] on the CPU, or None where they are not at hand.
Features = Callable[[NDArray[np.uint8]], Tensor | None]

# Fields of a tower's configuration that decide no number, and differ between a model and its saved copy.
_NO_NUMBERS = ("dtype", "torch_dtype", "transformers_version", "architectures")
_CHUNK_BYTES = 64 * 2**20


class FrozenTower:
    """The vision tower of a model as its forward passes run it: weights, device and precision."""

    def __init__(self, model: Any, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        """See `frozen_tower`, which says of what models."""
        self._model, self._autocast = model, autocast
        self._visual: Any = model.model.visual
        vision = model.config.vision_config
        self._patch, self._merge = int(vision.patch_size), int(vision.spatial_merge_size)

    @property
    def digest(self) -> str:
        """Hash of its configuration and weights, of its attention kernel and of the widths to which it was padded. With
        the kind of machine and the precision they decide the bits of its output."""
        fields = self._model.config.vision_config.to_dict()
        plain = {name: fields[name] for name in fields if not name.startswith("_") and name not in _NO_NUMBERS}
        widths = [list(weight.shape) for weight in self._visual.parameters()]
        computed = [plain, self._visual.config._attn_implementation, widths]
        digest = hashlib.sha256(json.dumps(computed, sort_keys=True, default=str).encode())
        # Of a padded tower (`swim.models.vision.pad_mlps`) the state has what was there before.
        for name, tensor in sorted(self._visual.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            content = tensor.detach().reshape(-1).view(torch.uint8)
            for at in range(0, len(content), _CHUNK_BYTES):
                digest.update(content[at : at + _CHUNK_BYTES].cpu().numpy().data)
        return digest.hexdigest()

    def to(self, device: torch.device) -> None:
        """Moves the tower to a device."""
        self._visual.to(device)

    @torch.no_grad()
    def __call__(self, frames_THWC: NDArray[np.uint8]) -> Tensor:
        """The features of a clip, [K, D], on the CPU."""
        device = next(self._visual.parameters()).device
        patches, grid = patchify(torch.tensor(frames_THWC, device=device), self._patch, self._merge)
        with self._autocast():
            output = self._model.model.get_video_features(patches, torch.tensor([grid], device=device))
        features_KD: Tensor = output.pooler_output[0]
        return features_KD.cpu()


def frozen_tower(model: Any, autocast: Callable[[], AbstractContextManager[Any]]) -> FrozenTower | None:
    """The tower of a stock model (`swim.supervision.objective.stock`), whose forward passes run within `autocast()`.
    None where a weight of it is trained, or its output is more than one vector a visual token."""
    return FrozenTower(model, autocast) if whole_frozen_tower(model) is not None else None


def frames_digest(frames_THWC: NDArray[np.uint8]) -> bytes:
    """What names a clip's features: a hash of its frames. So no clip can be given those of another."""
    shape = ",".join(map(str, frames_THWC.shape))
    return hashlib.sha256(shape.encode() + b"\n" + np.ascontiguousarray(frames_THWC).reshape(-1).data).digest()
