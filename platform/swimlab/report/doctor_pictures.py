"""Pictures of the rows that the doctor shows: their frames side by side, masks and outlines drawn into them.

A mask is filled and outlined in the colour of its object; what an outline has outside of the picture is drawn beside
it, on hatched ground. Pictures are WebP in data URIs, so that the page is one file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from swim.data.annotations.markup import MarkupError, strip_tags
from swimlab.data.doctor.scenes import Case, Scene, ScenePicture
from swimlab.report.attention_film import GAP_PX, INK, PAPER, fitting
from swimlab.report.attention_maps import data_uri, outline
from swimlab.report.figure_style import PALETTE

MOST_BYTES = 2_000_000  # of all pictures; base64 makes it a third more in the page
QUALITIES = (72, 45, 20)  # the first with which all pictures are small enough
HEAD_PX, LABEL_PX = 20, 12
SMALL_PX = 14  # a mask smaller than this gets a ring
MAX_BEYOND = 2.0  # sides of the picture that are shown outside of it
HATCH = (238, 240, 242), (214, 218, 223)


@dataclass(frozen=True)
class CasePicture:
    """A case for the page: its picture ("" where there is none), the colours of its nouns, and its turns as segments
    (text, whether it is tagged)."""

    case: Case
    picture: str
    width_px: int
    height_px: int
    colours: tuple[str, ...]
    turns: tuple[tuple[tuple[str, bool], ...], ...]


def case_pictures(scenes: Sequence[Scene]) -> list[CasePicture]:
    """The cases of the page, in order. Raises ValueError when no quality makes their pictures small enough."""
    strips = [_strip(scene) if scene.pictures else None for scene in scenes]
    for quality in QUALITIES:
        encoded = [_webp(strip, quality) if strip else b"" for strip in strips]
        if sum(map(len, encoded)) <= MOST_BYTES:
            break
    else:
        raise ValueError(f"{len(strips)} pictures need more than {MOST_BYTES} bytes")
    return [
        CasePicture(
            case=scene.case,
            picture=data_uri(content, "webp") if content else "",
            width_px=strip.width if strip else 0,
            height_px=strip.height if strip else 0,
            colours=tuple(PALETTE[i % len(PALETTE)] for i in range(len(scene.case.nouns))),
            turns=tuple(map(segments, scene.case.texts)),
        )
        for scene, strip, content in zip(scenes, strips, encoded, strict=True)
    ]


def segments(text: str) -> tuple[tuple[str, bool], ...]:
    """A tagged text as (text, whether it is tagged); as it is where its tags cannot be read."""
    try:
        plain, spans = strip_tags(text)
    except MarkupError:
        return ((text, False),)
    parts, at = [], 0
    for span in spans:
        parts += [(plain[at : span.start], False), (plain[span.start : span.end], True)]
        at = span.end
    return tuple(part for part in [*parts, (plain[at:], False)] if part[0])


def _strip(scene: Scene) -> Image.Image:
    """The frames of a scene side by side, their titles above."""
    drawn = [_drawn(picture, scene.case.nouns) for picture in scene.pictures]
    width = sum(picture.width for picture in drawn) + GAP_PX * (len(drawn) - 1)
    canvas = Image.new("RGB", (width, HEAD_PX + max(picture.height for picture in drawn)), PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(LABEL_PX)
    left = 0
    for picture, image in zip(scene.pictures, drawn, strict=True):
        draw.text((left, 3), fitting(picture.title, font, image.width), INK, font)
        canvas.paste(image, (left, HEAD_PX))
        left += image.width + GAP_PX
    return canvas


def _drawn(picture: ScenePicture, nouns: Sequence[str]) -> Image.Image:
    height, width = picture.frame_HWC.shape[:2]
    frame_HWC = picture.frame_HWC.astype(np.float32)
    for number, mask_HW in picture.masks:
        colour_3 = np.array(_colour(number), np.float32)
        frame_HWC[mask_HW] = 0.6 * frame_HWC[mask_HW] + 0.4 * colour_3
        frame_HWC[outline(mask_HW)] = colour_3
    canvas, (left, top) = _with_margins(Image.fromarray(frame_HWC.astype(np.uint8)), picture)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(LABEL_PX)
    for number, points_N2 in picture.outlines:
        points = [(left + x * width, top + y * height) for x, y in np.clip(points_N2, -MAX_BEYOND, 1 + MAX_BEYOND)]
        draw.line([*points, points[0]], _colour(number), 2)
        if all(number != masked for masked, _ in picture.masks):
            centre_2 = np.mean(points, axis=0)
            _label(draw, font, (float(centre_2[0]), float(centre_2[1])), number, nouns, canvas.size)
    for number, mask_HW in picture.masks:
        rows, columns = np.nonzero(mask_HW)
        if not len(rows):
            continue
        x, y = left + float(columns.mean()), top + float(rows.mean())
        if max(np.ptp(rows), np.ptp(columns)) < SMALL_PX:
            draw.ellipse((x - SMALL_PX, y - SMALL_PX, x + SMALL_PX, y + SMALL_PX), outline=_colour(number), width=2)
            y += SMALL_PX + LABEL_PX
        _label(draw, font, (x, y), number, nouns, canvas.size)
    return canvas


def _with_margins(frame: Image.Image, picture: ScenePicture) -> tuple[Image.Image, tuple[int, int]]:
    """The frame on ground large enough for all outlines, and where its corner is."""
    points = [points_N2 for _, points_N2 in picture.outlines]
    if not points:
        return frame, (0, 0)
    corners_N2 = np.clip(np.concatenate(points), -MAX_BEYOND, 1 + MAX_BEYOND)
    before_2 = np.maximum(-corners_N2.min(axis=0), 0) * frame.size
    after_2 = np.maximum(corners_N2.max(axis=0) - 1, 0) * frame.size
    left, top, right, bottom = (int(np.ceil(px)) + 4 * (px > 0) for px in (*before_2, *after_2))
    if not (left or top or right or bottom):
        return frame, (0, 0)
    size = frame.width + left + right, frame.height + top + bottom
    stripes_HW = (np.add.outer(np.arange(size[1]), np.arange(size[0])) // 4 % 2).astype(np.intp)
    ground = Image.fromarray(np.array(HATCH, np.uint8)[stripes_HW])
    ground.paste(frame, (left, top))
    return ground, (left, top)


def _label(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    centre: tuple[float, float],
    number: int,
    nouns: Sequence[str],
    size: tuple[int, int],
) -> None:
    """The object's noun on its colour, inside of the picture."""
    noun = nouns[number] if number < len(nouns) else f"object {number + 1}"
    # The font has no other letters; the page names the nouns beside the picture, by colour.
    text = fitting(noun, font, 120) if noun.isascii() else f"{number + 1}"
    wide = font.getlength(text) + 6
    x = min(max(centre[0] - wide / 2, 0), max(size[0] - wide, 0))
    y = min(max(centre[1] - LABEL_PX / 2 - 2, 0), max(size[1] - LABEL_PX - 5, 0))
    draw.rectangle((x, y, x + wide, y + LABEL_PX + 4), _colour(number))
    draw.text((x + 3, y + 1), text, PAPER, font)


def _colour(number: int) -> tuple[int, int, int]:
    red, green, blue = ImageColor.getrgb(PALETTE[number % len(PALETTE)])[:3]
    return red, green, blue


def _webp(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()
