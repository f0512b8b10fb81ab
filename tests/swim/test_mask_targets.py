"""Masks rendered from their run boundaries are bit for bit the masks that pycocotools decodes."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from swim.data.types import DataError, Rle
from swim.supervision.maps import upsample, upsample_by_products
from swim.supervision.mask_targets import mask_targets
from swim.supervision.targets import render


def rle(mask_HW):
    packed = coco.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
    return Rle(height=mask_HW.shape[0], width=mask_HW.shape[1], counts=packed["counts"].decode("ascii"))


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 9), (64, 48)])
@pytest.mark.parametrize("density", [0, 0.02, 0.5, 1])
@pytest.mark.parametrize("first_pixel", [None, True])
def test_chunks_are_the_rendered_masks(size, density, first_pixel):
    rng = np.random.default_rng(1)

    def mask():
        mask_HW = rng.random(size) < density
        if first_pixel:
            mask_HW[0, 0] = mask_HW[-1, -1] = True
        return rle(mask_HW)

    masks_P = [tuple(mask() for _ in range(frames)) for frames in (1, 2, 3, 1, 2)]
    targets = mask_targets(masks_P, size)
    assert targets.dense_PHW is None
    wanted_PHW = np.stack([render(masks, size) for masks in masks_P])
    for first, maps in ((0, 5), (0, 2), (2, 3), (4, 1)):
        chunk_CHW = targets.chunk(first, maps)
        assert chunk_CHW.is_contiguous()  # the order of sums over it depends on that
        assert chunk_CHW.dtype == torch.float32
        np.testing.assert_array_equal(chunk_CHW.numpy(), wanted_PHW[first : first + maps])


def test_masks_of_another_size_are_pooled_to_it():
    rng = np.random.default_rng(2)
    masks_P = [(rle(rng.random((12, 20)) < 0.4),), (rle(rng.random((6, 10)) < 0.4), rle(rng.random((12, 20)) < 0.4))]
    targets = mask_targets(masks_P, (6, 10))
    wanted_PHW = np.stack([render(masks, (6, 10)) for masks in masks_P])
    np.testing.assert_array_equal(targets.chunk(0, 2).numpy(), wanted_PHW)
    np.testing.assert_array_equal(targets.chunk(1, 1).numpy(), wanted_PHW[1:])


def test_runs_that_do_not_fill_their_mask_are_refused():
    whole = rle(np.ones((4, 4)))
    with pytest.raises(DataError, match="run lengths add up to 16, a 4 × 5 mask has 20 pixels"):
        mask_targets([(Rle(height=4, width=5, counts=whole.counts),)], (4, 5))


@pytest.mark.parametrize("grid", [(1, 1), (2, 5), (31, 31)])
@pytest.mark.parametrize("size", [(1, 3), (7, 4), (90, 160)])
def test_products_upsample_as_interpolation_does(grid, size):
    map_PHW = torch.rand(3, *grid, generator=torch.Generator().manual_seed(0))
    weight_Phw = torch.rand(3, *size, generator=torch.Generator().manual_seed(1))
    results = []
    for function in (upsample, upsample_by_products):
        leaf_PHW = map_PHW.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            up_Phw = function(leaf_PHW, size)
        (up_Phw * weight_Phw).sum().backward()
        results.append((up_Phw.detach(), leaf_PHW.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-5)


def test_weights_first_asked_for_by_an_evaluation_serve_training():
    with torch.inference_mode():
        upsample_by_products(torch.rand(1, 3, 3), (11, 13))
    leaf_PHW = torch.rand(1, 3, 3, requires_grad=True)
    upsample_by_products(leaf_PHW, (11, 13)).sum().backward()
    torch.testing.assert_close(leaf_PHW.grad.sum(), torch.tensor(11.0 * 13.0))
