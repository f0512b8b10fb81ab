"""Pictures of attention: the same held-out noun, frame | mask | each arm's map, as inline PNG.

Dimensions: T' temporal patches, H' × W' visual tokens, H × W pixels of the picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swim.outputs import Overlay

WIDTH_PX = 224
COLOURS, DIMMED, LEAST_ALPHA = "inferno", 0.55, 0.15
MASK_COLOUR = np.array([255, 255, 255])


@dataclass(frozen=True)
class Panel:
    """One arm's map; `mass` is the share of this patch's attention that lies in the mask, None without attention."""

    arm: str
    image: str
    mass: float | None


@dataclass(frozen=True)
class Strip:
    """One noun: data URIs of frame and mask, then a panel for every arm that has it."""

    noun: str
    question: str
    key: str
    frame: str
    mask: str
    panels: tuple[Panel, ...]


def strips(overlays: Mapping[str, Sequence[Overlay]]) -> list[Strip]:
    """One strip for each noun that every arm has a map for, in the order of the first arm.

    The patch shown is the annotated one with the largest mask. Each map is interpolated from the token grid and scaled
    to its own maximum: a strip shows the place of attention, not its amount.

    Args:
        overlays: arm → its maps with frames and masks.
    """
    if not overlays:
        return []
    by_arm = {arm: {(o.key, o.tag): o for o in items} for arm, items in overlays.items()}
    first = next(iter(by_arm.values()))
    return [
        _strip({arm: items[noun] for arm, items in by_arm.items()})
        for noun in first
        if all(noun in items for items in by_arm.values())
    ]


@dataclass(frozen=True)
class PatchPicture:
    """One patch of a clip: its frame and mask at the printed size, and its mask as recorded."""

    patch: int
    frame_HWC: NDArray[np.uint8]
    mask_HW: NDArray[np.bool_]
    recorded_HW: NDArray[np.uint8]

    def attended(self, map_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The dimmed frame under the map (H' × W', scaled to its own maximum), with the outline of the mask."""
        attended_HWC = heated(self.frame_HWC, map_HW, None)
        attended_HWC[outline(self.mask_HW)] = MASK_COLOUR
        return attended_HWC

    def outlined(self) -> NDArray[np.uint8]:
        """The frame with the outline of the mask."""
        return np.where(outline(self.mask_HW)[..., None], MASK_COLOUR, self.frame_HWC).astype(np.uint8)

    def masked(self) -> NDArray[np.uint8]:
        """The frame, dark outside the mask."""
        return np.where(self.mask_HW[..., None], self.frame_HWC, self.frame_HWC // 5)

    def mass(self, map_HW: NDArray[np.float32]) -> float | None:
        """The share of this patch's attention that lies in the mask; None without any attention."""
        small = Image.fromarray(self.recorded_HW.astype(np.float32)).resize(map_HW.shape[::-1], Image.Resampling.BOX)
        total = float(map_HW.sum())
        return float((map_HW * np.asarray(small)).sum()) / total if total > 0 else None


def heated(frame_HWC: NDArray[np.uint8], map_HW: NDArray[np.float32], top: float | None) -> NDArray[np.uint8]:
    """A dimmed frame under a map (H' × W'), whose value `top` is the brightest colour; None: its own largest value once
    it has the size of the frame."""
    size = frame_HWC.shape[1], frame_HWC.shape[0]
    map_HW = np.asarray(Image.fromarray(map_HW).resize(size, Image.Resampling.BILINEAR))
    heat_HW = np.clip(map_HW / max(float(map_HW.max()) if top is None else top, 1e-12), 0, 1)
    colour_HWC = matplotlib.colormaps[COLOURS](heat_HW)[..., :3] * 255
    grey_HWC = frame_HWC.mean(-1, keepdims=True) * DIMMED
    alpha_HW1 = (LEAST_ALPHA + (1 - LEAST_ALPHA) * heat_HW)[..., None]
    blend_HWC: NDArray[np.uint8] = (grey_HWC * (1 - alpha_HW1) + colour_HWC * alpha_HW1).astype(np.uint8)
    return blend_HWC


def largest_patch(overlay: Overlay, width_px: int) -> PatchPicture:
    """The scene of the annotated patch with the largest mask, `width_px` wide."""
    patches = overlay.grid[0]
    height, width = overlay.frame_size
    frames_THWC = np.frombuffer(overlay.frames, np.uint8).reshape(patches, height, width, 3)
    masks_THW = np.frombuffer(overlay.masks, np.uint8).reshape(patches, height, width)
    patch = max(range(patches), key=lambda t: (overlay.annotated[t], int(masks_THW[t].sum())))
    size = (width_px, max(1, round(width_px * height / width)))
    frame_HWC = np.asarray(Image.fromarray(frames_THWC[patch]).resize(size, Image.Resampling.BICUBIC))
    mask_HW = np.asarray(Image.fromarray(masks_THW[patch] * 255).resize(size, Image.Resampling.BILINEAR)) > 127
    return PatchPicture(patch, frame_HWC, mask_HW, masks_THW[patch])


def _strip(by_arm: Mapping[str, Overlay]) -> Strip:
    first = next(iter(by_arm.values()))
    view = largest_patch(first, WIDTH_PX)
    maps = {arm: _map(overlay, view.patch) for arm, overlay in by_arm.items()}
    panels = tuple(Panel(arm, _png(view.attended(map_HW)), view.mass(map_HW)) for arm, map_HW in maps.items())
    return Strip(first.noun, first.question, first.key, _png(view.frame_HWC), _png(view.masked()), panels)


def _map(overlay: Overlay, patch: int) -> NDArray[np.float32]:
    map_THW = np.frombuffer(overlay.map, np.float32).reshape(overlay.grid)
    map_HW: NDArray[np.float32] = map_THW[patch]
    return map_HW


def outline(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that have a neighbour outside of it."""
    padded = np.pad(mask_HW, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    border_HW: NDArray[np.bool_] = mask_HW & ~inner
    return border_HW


def data_uri(content: bytes, kind: str) -> str:
    """A picture for the `src` of a page that loads nothing; `kind` is "png" or "webp"."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()


def _png(image_HWC: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    # Not `optimize`: eight times the CPU time, a third of a whole report, for 4 to 9 % fewer bytes.
    Image.fromarray(image_HWC).save(buffer, "PNG")
    return data_uri(buffer.getvalue(), "png")
