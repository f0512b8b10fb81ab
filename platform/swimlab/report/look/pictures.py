"""A look as an mp4 over time and as a contact sheet: the frame, then each model's map of the noun, on one colour scale.

Dimensions: T' temporal patches, H × W pixels of a picture.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from swimlab.checkpoints.asking import Look
from swimlab.report.attention_film import INK, PAPER, SOFT, fitting
from swimlab.report.attention_maps import heated
from swimlab.report.look.shown import SINKS, Panel, Sink, panels, top_of

FPS = 8
HOLD = 4  # frames of the film that show one temporal patch
PANEL_PX, SHEET_PX = 400, 150  # the longer side of a picture, in the film and on the sheet
SHEET_PATCHES = 8
LEAST_SHEET_PX = 640
MOST_STEP_PX = 90  # of the bars of a patch
GAP_PX, TEXT_PX, CURVE_PX, LABEL_PX = 12, 24, 96, 130


def write_film(look: Look, sink: Sink, path: Path) -> int:
    """Writes the mp4 (H.264): `HOLD` frames for each temporal patch, and under the pictures the share of the attention
    over time. Returns the number of its frames."""
    written = 0
    with av.open(str(path), "w", format="mp4") as container:
        stream = None
        for picture in _film(look, sink):
            if stream is None:
                # Every player reads this pixel format, which wants even sides.
                stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
                stream.height, stream.width = (side - side % 2 for side in picture.shape[:2])
                stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[: stream.height, : stream.width]), "rgb24")
            for _ in range(HOLD):
                frame.pts = written
                container.mux(stream.encode(frame))
                written += 1
        assert stream is not None  # a video has a patch
        container.mux(stream.encode(None))
    return written


def contact_sheet(look: Look, sink: Sink) -> bytes:
    """A PNG: at most eight temporal patches side by side, the frame above each model's map and its share."""
    shown, word = panels(look, look.nouns[0], sink), look.words[look.nouns[0]]
    top = top_of(shown)
    patches = np.unique(
        np.linspace(0, len(look.times_s) - 1, min(SHEET_PATCHES, len(look.times_s))).round().astype(int)
    )
    frames = _resized(look.frames_THWC, SHEET_PX)
    height, width = frames.shape[1:3]
    rows = 1 + len(shown)
    size = (
        max(LEAST_SHEET_PX, LABEL_PX + len(patches) * (width + GAP_PX)),
        3 * TEXT_PX + rows * height + len(shown) * TEXT_PX + GAP_PX,
    )
    canvas = Image.new("RGB", size, PAPER)
    draw, font, small = ImageDraw.Draw(canvas), ImageFont.load_default(14), ImageFont.load_default(11)
    draw.text((0, 2), fitting(f"{look.texts[0]}  [{word.word}]", font, canvas.width), INK, font)
    for column, t in enumerate(patches):
        left = LABEL_PX + column * (width + GAP_PX)
        draw.text((left, TEXT_PX), f"{look.times_s[t]:.1f} s", SOFT, small)
        y = 2 * TEXT_PX - 4
        canvas.paste(Image.fromarray(frames[t]), (left, y))
        y += height + GAP_PX
        for panel in shown:
            canvas.paste(Image.fromarray(heated(frames[t], panel.map_THW[t], top)), (left, y))
            draw.text((left, y + height + 3), f"{panel.share_T[t]:.0%} of the attention", SOFT, small)
            y += height + TEXT_PX
    y = 2 * TEXT_PX - 4 + height + GAP_PX
    for panel in shown:
        draw.text((0, y), fitting(panel.name, small, LABEL_PX - GAP_PX), panel.colour, small)
        y += height + TEXT_PX
    # Pillow's own font has no multiplication sign.
    scale = f"brightest: {top:.1f} times an even spread; {sink}: {SINKS[sink]}"
    draw.text((0, y + 2), fitting(scale, small, canvas.width), SOFT, small)
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()


def _film(look: Look, sink: Sink) -> Iterator[NDArray[np.uint8]]:
    shown, word = panels(look, look.nouns[0], sink), look.words[look.nouns[0]]
    top, frames = top_of(shown), _resized(look.frames_THWC, PANEL_PX)
    height, width = frames.shape[1:3]
    columns = 1 + len(shown)
    size = columns * width + (columns - 1) * GAP_PX, 2 * TEXT_PX + height + CURVE_PX
    font, small = ImageFont.load_default(14), ImageFont.load_default(12)
    for t, frame_HWC in enumerate(frames):
        canvas = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(canvas)
        draw.text((0, 2), fitting(f"{look.texts[0]}  [{word.word}]", font, size[0]), INK, font)
        draw.text((0, TEXT_PX), f"{look.times_s[t]:.1f} s", SOFT, small)
        canvas.paste(Image.fromarray(frame_HWC), (0, 2 * TEXT_PX))
        for column, panel in enumerate(shown, start=1):
            left = column * (width + GAP_PX)
            label = f"{panel.name}: {panel.share_T[t]:.0%} of the attention"
            draw.text((left, TEXT_PX), fitting(label, small, width), panel.colour, small)
            canvas.paste(Image.fromarray(heated(frame_HWC, panel.map_THW[t], top)), (left, 2 * TEXT_PX))
        _draw_curves(draw, shown, t, (0, 2 * TEXT_PX + height + GAP_PX, size[0], size[1]))
        yield np.asarray(canvas)


def _draw_curves(draw: ImageDraw.ImageDraw, shown: Sequence[Panel], t: int, box: tuple[int, int, int, int]) -> None:
    """Bars of the share of the attention in each patch, those of patch `t` full in colour."""
    left, upper, right, lower = box
    patches = len(shown[0].share_T)
    highest = max(float(panel.share_T.max()) for panel in shown)
    step = min((right - left) / patches, MOST_STEP_PX)
    bar = step * 0.8 / len(shown)
    draw.line((left, lower - 1, right, lower - 1), SOFT)
    for n, panel in enumerate(shown):
        for patch, share in enumerate(panel.share_T):
            x = left + patch * step + step * 0.1 + n * bar
            y = lower - 1 - (lower - upper - 4) * float(share) / max(highest, 1e-9)
            fill = panel.colour if patch == t else _pale(panel.colour)
            draw.rectangle((x, min(y, lower - 2), x + bar - 1, lower - 2), fill=fill)


def _pale(colour: str) -> tuple[int, ...]:
    return tuple(255 - (255 - int(colour[i : i + 2], 16)) * 2 // 5 for i in (1, 3, 5))


def _resized(frames_THWC: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    height, width = frames_THWC.shape[1:3]
    scale = longest_px / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    return np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BICUBIC)) for f in frames_THWC])
