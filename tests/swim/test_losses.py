"""Fusions, normalisations and losses against values worked out by hand, and their gradients. Whatever is added to a
registry is tested here without a line being written."""

from math import log

import pytest
import torch

from swim import registry

MAP_PHW = torch.tensor([[[0.5, 0.25], [0.75, 0.5]]], dtype=torch.float64)
MASK_PHW = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)

# log ½ and log ¾ are what the four pixels give: ½ inside, ¼ outside, ¾ inside, ½ outside.
BY_HAND = {
    "bce": -(log(0.5) + log(0.75) + log(0.75) + log(0.5)) / 4,
    "dice": 1 - (2 * 1.25 + 1) / (2 + 2 + 1),
    "miou": 1 - (1.25 + 1) / (2.75 + 1),
    "focal": -(
        0.25 * 0.5**2 * log(0.5) + 0.75 * 0.25**2 * log(0.75) + 0.25 * 0.25**2 * log(0.75) + 0.75 * 0.5**2 * log(0.5)
    )
    / 4,
}
LOSSES = registry.names("swim.supervision.losses")
FUSIONS = registry.names("swim.supervision.fusion")
NORMALS = registry.names("swim.supervision.normalise")


def load(kind, name):
    return registry.load(f"swim.supervision.{kind}", name)


def random(*shape):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(7)) * 0.8 + 0.1


@pytest.mark.parametrize("name", BY_HAND)
def test_loss_by_hand(name):
    torch.testing.assert_close(load("losses", name)(MAP_PHW, MASK_PHW)[0].item(), BY_HAND[name])


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_one_value_a_map_prefers_the_mask_and_has_its_own_gradient(name):
    loss = load("losses", name)
    map_PHW, mask_PHW = random(3, 4, 5).requires_grad_(), (random(3, 4, 5) > 0.5).double()
    assert loss(map_PHW, mask_PHW).shape == (3,)
    each_P = torch.stack([loss(map_PHW[p : p + 1], mask_PHW[p : p + 1])[0] for p in range(3)])
    torch.testing.assert_close(loss(map_PHW, mask_PHW), each_P)
    assert (loss(mask_PHW * 0.98 + 0.01, mask_PHW) < loss(map_PHW, mask_PHW)).all()
    assert torch.autograd.gradcheck(lambda map_PHW: loss(map_PHW, random(3, 4, 5)), (map_PHW,))


@pytest.mark.parametrize("extreme", [0.0, 1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_finite_where_map_and_mask_contradict(name, extreme):
    map_PHW = torch.full((1, 4, 4), extreme).requires_grad_()
    loss_P = load("losses", name)(map_PHW, 1 - map_PHW.detach())
    loss_P.sum().backward()
    assert loss_P.isfinite().all()
    assert map_PHW.grad.isfinite().all()


@pytest.mark.parametrize("name", FUSIONS)
def test_fusion_drops_the_layers_and_has_its_own_gradient(name):
    a_SBRK = (random(3, 2, 2, 5) / 5).requires_grad_()
    assert load("fusion", name)(a_SBRK).shape == (2, 2, 5)
    assert torch.autograd.gradcheck(load("fusion", name), (a_SBRK,))


@pytest.mark.parametrize("name", NORMALS)
def test_normalise_keeps_the_shape_and_has_its_own_gradient(name):
    map_PHW = random(2, 3, 4).requires_grad_()
    assert load("normalise", name)(map_PHW).shape == (2, 3, 4)
    assert torch.autograd.gradcheck(load("normalise", name), (map_PHW,))


def test_fusions_by_hand():
    a_SBRK = torch.tensor([[0.2, 0.8], [0.5, 0.5]], dtype=torch.float64).reshape(2, 1, 1, 2)
    wanted = {
        "mean": [0.35, 0.65],
        "add": [0.7, 1.3],
        "max": [0.5, 0.8],
        "product": [0.2, 0.8],
        "released-product": [0.1 / 0.500001, 0.4 / 0.500001],
    }
    for name, values in wanted.items():
        torch.testing.assert_close(load("fusion", name)(a_SBRK).flatten().tolist(), values)


def test_product_in_log_space_is_the_naive_product_normalised():
    a_SBRK = torch.softmax(random(6, 2, 3, 16), -1)
    naive_BRK = a_SBRK.prod(0)
    torch.testing.assert_close(load("fusion", "product")(a_SBRK), naive_BRK / naive_BRK.sum(-1, keepdim=True))
    # Six diffuse maps of 8,192 tokens: the naive product is 1e-24 and the released epsilon flattens it to nothing.
    diffuse_SBRK = torch.full((6, 1, 1, 8192), 1 / 8192)
    torch.testing.assert_close(load("fusion", "product")(diffuse_SBRK).sum(), torch.tensor(1.0))
    assert load("fusion", "released-product")(diffuse_SBRK).sum() < 1e-12


def test_a_padded_column_takes_no_mass_in_any_fusion():
    a_SBRK = torch.softmax(random(2, 1, 1, 8).float() * 9, -1)
    padded_SBRK = torch.nn.functional.pad(a_SBRK, (0, 3))
    for name in FUSIONS:
        fused_BRK = load("fusion", name)(padded_SBRK)
        assert fused_BRK[..., 8:].abs().max() < 1e-12, name
        torch.testing.assert_close(fused_BRK[..., :8], load("fusion", name)(a_SBRK), msg=name)


def test_minmax_spans_each_frame():
    map_PHW = torch.stack([torch.arange(6.0).reshape(2, 3), torch.full((2, 3), 0.25)])
    found_PHW = load("normalise", "frame-minmax")(map_PHW)
    torch.testing.assert_close(found_PHW[0], map_PHW[0] / 5, atol=1e-6, rtol=0)
    assert found_PHW[1].abs().max() == 0
