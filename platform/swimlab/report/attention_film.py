"""The film of attention during training: the maps of the same four held-out nouns, the reference arm beside SWIM.

Dimensions: T' temporal patches, H' × W' visual tokens, H × W pixels of a picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from swim.outputs import FilmFrame, Overlay
from swimlab.base.printable import one_line
from swimlab.report.attention_maps import PatchPicture, data_uri, largest_patch

NOUNS = 4
MOST_BYTES = 1_400_000  # of the animation; base64 makes it a third more in the page
FRAME_MS, LAST_MS = 160, 2600
PANEL_PX, GAP_PX, HEAD_PX, LABEL_PX = 150, 8, 34, 20
# Tried in this order until the animation is small enough.
QUALITIES = (70, 50, 30)
STRIDES = (1, 2, 4, 8)
INK, SOFT, PAPER = (28, 33, 39), (89, 99, 110), (255, 255, 255)

NounKey = tuple[str, int]


@dataclass(frozen=True)
class Film:
    """Data URIs of the animation and of its last frame, which is shown to readers who prefer no motion."""

    animation: str
    still: str
    arms: tuple[str, ...]
    steps: tuple[int, ...]
    nouns: tuple[str, ...]
    width_px: int
    height_px: int


def film(overlays: Sequence[Overlay], frames: Mapping[str, Sequence[FilmFrame]]) -> Film | None:
    """The first four nouns at the steps that every arm has; each map is scaled to its own maximum.

    Args:
        overlays: frames and masks, of one trial.
        frames: arm → its maps, of the same seed.

    Returns:
        None with fewer than two shared steps, or without a noun that every arm has at all of them.

    Raises:
        ValueError: when no animation is small enough for a page.
    """
    maps = {arm: {(f.step, f.key, f.tag): f for f in items} for arm, items in frames.items()}
    if not maps:
        return None
    steps = sorted(set.intersection(*({step for step, _, _ in arm_maps} for arm_maps in maps.values())))
    selected = [
        overlay
        for overlay in overlays
        if all((step, overlay.key, overlay.tag) in arm_maps for arm_maps in maps.values() for step in steps)
    ][:NOUNS]
    if len(steps) < 2 or not selected:
        return None
    scenes = [largest_patch(overlay, PANEL_PX) for overlay in selected]
    pictures = [_picture(step, selected, scenes, maps) for step in steps]
    animation, shown = _animation(pictures, steps)
    still = io.BytesIO()
    pictures[-1].save(still, "WEBP", quality=80)
    return Film(
        animation=data_uri(animation, "webp"),
        still=data_uri(still.getvalue(), "webp"),
        arms=tuple(maps),
        steps=tuple(shown),
        nouns=tuple(overlay.noun for overlay in selected),
        width_px=pictures[0].width,
        height_px=pictures[0].height,
    )


def _picture(
    step: int,
    overlays: Sequence[Overlay],
    scenes: Sequence[PatchPicture],
    maps: Mapping[str, Mapping[tuple[int, str, int], FilmFrame]],
) -> Image.Image:
    """The picture of one step: a row for each noun, its frame and then each arm's map."""
    columns = 1 + len(maps)
    heights = [view.frame_HWC.shape[0] for view in scenes]
    width = columns * PANEL_PX + (columns - 1) * GAP_PX
    height = HEAD_PX + sum(heights) + LABEL_PX * len(scenes) + GAP_PX * (len(scenes) - 1)
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    bold, small = ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((0, 6), f"step {step}", INK, bold)
    for column, arm in enumerate(maps, start=1):
        draw.text((column * (PANEL_PX + GAP_PX), 8), fitting(arm, small, PANEL_PX), SOFT, small)
    top = HEAD_PX
    for overlay, view, panel_height in zip(overlays, scenes, heights, strict=True):
        canvas.paste(Image.fromarray(view.outlined()), (0, top))
        under = top + panel_height + 3
        draw.text((0, under), fitting(overlay.noun, small, PANEL_PX), INK, small)
        for column, arm_maps in enumerate(maps.values(), start=1):
            frame = arm_maps[step, overlay.key, overlay.tag]
            map_HW = _map(frame, view.patch)
            left = column * (PANEL_PX + GAP_PX)
            canvas.paste(Image.fromarray(view.attended(map_HW)), (left, top))
            share = view.mass(map_HW)
            draw.text((left, under), "no attention" if share is None else f"{share:.2f} in the mask", SOFT, small)
        top += panel_height + LABEL_PX + GAP_PX
    return canvas


def _map(frame: FilmFrame, patch: int) -> NDArray[np.float32]:
    map_THW = np.frombuffer(frame.map, np.float32).reshape(frame.grid)
    map_HW: NDArray[np.float32] = map_THW[patch]
    return map_HW


def _animation(pictures: Sequence[Image.Image], steps: Sequence[int]) -> tuple[bytes, list[int]]:
    """The animated WebP and the steps in it, which include the first and the last."""
    for stride in STRIDES:
        indices = sorted({*range(0, len(pictures), stride), len(pictures) - 1})
        for quality in QUALITIES:
            data = _webp([pictures[i] for i in indices], quality)
            if len(data) <= MOST_BYTES:
                return data, [steps[i] for i in indices]
    raise ValueError(f"no film of {len(pictures)} pictures fits into {MOST_BYTES} bytes")


def _webp(pictures: Sequence[Image.Image], quality: int) -> bytes:
    buffer = io.BytesIO()
    durations = [FRAME_MS] * (len(pictures) - 1) + [LAST_MS]
    pictures[0].save(
        buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=quality, method=2
    )
    return buffer.getvalue()


def fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int) -> str:
    """The text on one line, cut to a width in pixels."""
    text = one_line(text)
    if font.getlength(text) <= width_px:
        return text
    while text and font.getlength(f"{text}…") > width_px:
        text = text[:-1]
    return f"{text}…"
