"""Area averages of decoded masks, by matrix products: the plain way, slow and with all pixels in memory."""

import numpy as np


def resize_to(mask_HW: np.ndarray, height: int, width: int) -> np.ndarray:
    """Exact area averages on a height × width grid, float32; for a 0/1 mask the fraction of each cell it covers.

    Cells need not align with pixels and may be smaller than them (then a pixel's value is repeated, split by area).
    """
    H, W = mask_HW.shape
    # Overlaps are whole numbers, so for masks the sums are exact in float64 and only this one division rounds.
    total_hw = _overlaps(H, height) @ mask_HW.astype(np.float64) @ _overlaps(W, width).T
    return (total_hw / (H * W)).astype(np.float32)


def _overlaps(pixels: int, cells: int) -> np.ndarray:
    """(cells, pixels): length each cell shares with each pixel, in units of 1/cells pixel; rows sum to `pixels`."""
    cell = np.arange(cells)[:, None] * pixels
    pixel = np.arange(pixels)[None, :] * cells
    shared = np.minimum(cell + pixels, pixel + cells) - np.maximum(cell, pixel)
    return np.maximum(shared, 0).astype(np.float64)
