"""Fusions, normalisations and losses against values worked out by hand, and their gradients against finite differences
in float64. Whatever is added to a registry is tested here without a line being written."""

from math import log

import pytest
import torch

from swim import registry

MAP_PHW = torch.tensor([[[0.5, 0.25], [0.75, 0.5]]], dtype=torch.float64)
MASK_PHW = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)

# log ½ and log ¾ are what the four pixels give: ½ inside, ¼ outside, ¾ inside, ½ outside.
LOSS = {
    "bce": -(log(0.5) + log(0.75) + log(0.75) + log(0.5)) / 4,
    "weighted-bce": -0.5 * ((log(0.5) + log(0.75)) / 2 + (log(0.75) + log(0.5)) / 2),
    "dice": 1 - (2 * 1.25 + 1) / (2 + 2 + 1),
    "miou": 1 - (1.25 + 1) / (2.75 + 1),
    "focal": -(
        0.25 * 0.5**2 * log(0.5) + 0.75 * 0.25**2 * log(0.75) + 0.25 * 0.25**2 * log(0.75) + 0.75 * 0.5**2 * log(0.5)
    )
    / 4,
    # The map sums to 2: ¼ and ⅜ where the mask has ½ and ½.
    "cross-entropy": 0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.375),
    # The map as it is: ½ and ¾ where the mask has ½ and ½.
    "kl": 0.5 * log(0.5 / 0.5) + 0.5 * log(0.5 / 0.75),
}
# The same map against half a mask on the first pixel (two frames that disagree) and nothing else.
SOFT_MASK_PHW = torch.tensor([[[0.5, 0.0], [0.0, 0.0]]], dtype=torch.float64)
SOFT_LOSS = {
    "bce": -(log(0.5) + log(0.75) + log(0.25) + log(0.5)) / 4,
    "weighted-bce": -0.5 * (log(0.5) + (0.5 * log(0.5) + log(0.75) + log(0.25) + log(0.5)) / 3.5),
    "dice": 1 - (2 * 0.25 + 1) / (2 + 0.5 + 1),
    "miou": 1 - (0.25 + 1) / (2.25 + 1),
    "focal": -(
        0.5 * 0.25 * 0.5**2 * log(0.5)
        + 0.75 * (0.5 * 0.5**2 * log(0.5) + 0.25**2 * log(0.75) + 0.75**2 * log(0.25) + 0.5**2 * log(0.5))
    )
    / 4,
    "cross-entropy": log(1 / 0.25),
    "kl": log(1 / 0.5),
}
# Two layers, two tokens: [0.2, 0.8] and [0.5, 0.5].
FUSED = {
    "mean": [0.35, 0.65],
    "add": [0.7, 1.3],
    "max": [0.5, 0.8],
    "product": [0.2, 0.8],
    "geometric": [0.1**0.5, 0.4**0.5],
    "released-product": [0.1 / 0.500001, 0.4 / 0.500001],
}
# One patch of 0.1, 0.2, 0.3, 0.2 under a mask of 3 cells; its sum is 0.8, its mean 0.2.
NORMAL = {
    "none": [0.1, 0.2, 0.3, 0.2],
    "minmax": [0.0, 0.1 / 0.200001, 0.2 / 0.200001, 0.1 / 0.200001],
    "max": [1 / 3, 2 / 3, 1.0, 2 / 3],
    "sum": [0.125, 0.25, 0.375, 0.25],
    "area": [0.375, 0.75, 1.125, 0.75],
    "logit": [1 / 3, 1 / 2, 0.6, 1 / 2],
}
LOSSES = registry.names("swim.supervision.losses")
FUSIONS = registry.names("swim.supervision.fusion")
NORMALS = registry.names("swim.supervision.normalise")


def load(kind, name):
    return registry.load(f"swim.supervision.{kind}", name)


def random(*shape):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7)) * 0.8 + 0.1


@pytest.mark.parametrize("name", LOSS)
def test_loss_by_hand(name):
    loss = load("losses", name)
    torch.testing.assert_close(loss(MAP_PHW, MASK_PHW)[0].item(), LOSS[name])
    torch.testing.assert_close(loss(MAP_PHW, SOFT_MASK_PHW)[0].item(), SOFT_LOSS[name])


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_one_value_a_map_prefers_the_mask_and_has_its_own_gradient(name):
    loss = load("losses", name)
    map_PHW, mask_PHW = random(3, 4, 5).requires_grad_(), (random(3, 4, 5) > 0.5).double()
    assert loss(map_PHW, mask_PHW).shape == (3,)
    each_P = torch.stack([loss(map_PHW[p : p + 1], mask_PHW[p : p + 1])[0] for p in range(3)])
    torch.testing.assert_close(loss(map_PHW, mask_PHW), each_P)
    assert (loss(mask_PHW * 0.98 + 0.01, mask_PHW) < loss(map_PHW, mask_PHW)).all()
    assert torch.autograd.gradcheck(lambda map_PHW: loss(map_PHW, mask_PHW), (map_PHW,))
    assert torch.autograd.gradcheck(lambda map_PHW: loss(map_PHW, random(3, 4, 5)), (map_PHW,))


@pytest.mark.parametrize("name", LOSSES)
def test_loss_does_not_hide_what_is_no_number(name):
    map_PHW = torch.full((1, 2, 2), 0.5)
    map_PHW[0, 0, 0] = torch.nan
    assert load("losses", name)(map_PHW, torch.ones(1, 2, 2)).isnan().all()


@pytest.mark.parametrize("name", FUSED)
def test_fusion_by_hand(name):
    a_SMK = torch.tensor([[0.2, 0.8], [0.5, 0.5]], dtype=torch.float64)[:, None]
    torch.testing.assert_close(load("fusion", name)(a_SMK).flatten().tolist(), FUSED[name])


@pytest.mark.parametrize("name", FUSIONS)
def test_fusion_drops_the_layers_and_has_its_own_gradient(name):
    a_SMK = (random(3, 2, 5) / 5).requires_grad_()
    fuse = load("fusion", name)
    assert fuse(a_SMK).shape == (2, 5)
    torch.testing.assert_close(fuse(a_SMK)[1], fuse(a_SMK[:, 1:])[0])  # each map by itself
    torch.testing.assert_close(fuse(a_SMK.flip(0)), fuse(a_SMK))  # whatever the order of the layers
    assert torch.autograd.gradcheck(fuse, (a_SMK,))


@pytest.mark.parametrize("name", FUSIONS)
def test_a_padded_column_takes_no_mass_in_any_fusion(name):
    a_SMK = torch.softmax(random(2, 1, 8).float() * 9, -1)
    padded_SMK = torch.nn.functional.pad(a_SMK, (0, 3))
    fused_MK = load("fusion", name)(padded_SMK)
    assert fused_MK[..., 8:].abs().max() == 0
    torch.testing.assert_close(fused_MK[..., :8], load("fusion", name)(a_SMK))


def test_product_in_log_space_is_the_naive_product_normalised():
    a_SMK = torch.softmax(random(6, 2, 16), -1)
    naive_MK = a_SMK.prod(0)
    torch.testing.assert_close(load("fusion", "product")(a_SMK), naive_MK / naive_MK.sum(-1, keepdim=True))
    # Six diffuse maps of 8,192 tokens: the naive product is 1e-24 and the released epsilon flattens it to nothing.
    diffuse_SMK = torch.full((6, 1, 8192), 1 / 8192)
    torch.testing.assert_close(load("fusion", "product")(diffuse_SMK).sum(), torch.tensor(1.0))
    assert load("fusion", "released-product")(diffuse_SMK).sum() < 1e-12


@pytest.mark.parametrize("name", NORMAL)
def test_normalise_by_hand(name):
    map_PHW = torch.tensor([[[0.1, 0.2], [0.3, 0.2]], [[7.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    found_PHW = load("normalise", name)(map_PHW, torch.tensor([3.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(found_PHW[0].flatten().tolist(), NORMAL[name])


@pytest.mark.parametrize("name", NORMALS)
def test_normalise_keeps_the_shape_takes_each_patch_by_itself_and_has_its_own_gradient(name):
    normalise = load("normalise", name)
    map_PHW, area_P = random(2, 3, 4).requires_grad_(), torch.tensor([2.5, 7.0], dtype=torch.float64)
    assert normalise(map_PHW, area_P).shape == (2, 3, 4)
    torch.testing.assert_close(normalise(map_PHW, area_P)[1], normalise(map_PHW[1:], area_P[1:])[0])
    assert torch.autograd.gradcheck(lambda map_PHW: normalise(map_PHW, area_P), (map_PHW,))
    # Where a map is high it stays high.
    order = map_PHW.flatten(1).argsort()
    assert (normalise(map_PHW, area_P).flatten(1).argsort() == order).all()


@pytest.mark.parametrize("name", ["minmax", "max", "sum", "area", "logit"])
def test_these_normalisations_do_not_care_for_scale(name):
    map_PHW, area_P = random(2, 3, 4), torch.tensor([2.5, 7.0], dtype=torch.float64)
    normalise = load("normalise", name)
    # 1e-4: min-max has 1e-6 in the denominator.
    torch.testing.assert_close(normalise(0.03 * map_PHW, area_P), normalise(map_PHW, area_P), rtol=1e-4, atol=1e-4)
