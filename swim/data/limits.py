"""Limits of one row. Files may be hostile: each limit is far above real data and far below what exhausts memory."""

from __future__ import annotations

from typing import Any

MAX_TEXT_CHARS = 2**20  # of a turn: several times the longest context a model has
MAX_PATH_CHARS = 4096  # Linux opens no longer path
MAX_LABEL_CHARS = 200  # ids, question types, names of slots: they are repeated in keys and reports

# One mask.
MAX_SIDE_PX = 16_384
MAX_MASK_PX = 2**26  # twice a frame of 8K video; decoded, a byte each
MAX_COUNTS = 2**20  # characters of a compressed RLE, or run lengths of a list; an outlined object at 4K has some 10,000
MAX_POLYGONS = 512  # an object of more pieces was drawn with a brush, and is stored as RLE
# Rasterising walks along every edge, at 1.4 µs a pixel: 0.4 s. The border of a 4K frame is 12,000 px long.
MAX_OUTLINE_PX = 2**18

# All masks of a row, since a polygon of 80 characters can become an RLE of 250,000 and cost 0.4 s.
MAX_ROW_COUNTS = 2**26  # characters: as many as a row of a file may have
MAX_ROW_OUTLINE_PX = 2**25  # ten objects outlined in a thousand frames need 2e7


def abbreviate(value: Any) -> str:
    """A JSON value for an error message: always short, and nested values are not read."""
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'JSON object'} of {len(value)}"
    if isinstance(value, str):
        return repr(value[:40]) + "…" * (len(value) > 40)
    # Python refuses to print an integer of more than 4,300 digits.
    if isinstance(value, int) and not -(10**20) < value < 10**20:
        return "a number of more than 20 digits"
    return repr(value)
