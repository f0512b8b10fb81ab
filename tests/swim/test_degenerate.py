"""What nobody draws on purpose and every data set holds: empty masks, masks of everything, grids of one cell, attention
of exactly nothing or exactly 1, nouns cut off, frames nobody annotated. Defined for every combination of a loss, a
normalisation, a fusion and a resizing; registered ones are found without a line being written.
"""

from dataclasses import replace
from itertools import product
from math import log

import numpy as np
import pytest
import scenes
import torch

from swim import registry
from swim.recipe import Objective
from swim.supervision import maps
from swim.supervision.maps import mask_loss
from swim.supervision.objective import SupervisedModel
from swim.supervision.per_map import per_map

FUSIONS, NORMALS, LOSSES = (registry.names(f"swim.supervision.{kind}") for kind in ("fusion", "normalise", "losses"))
RESIZES = ("map-to-mask", "mask-to-grid")
ZERO, ONE = np.zeros((6, 6)), np.ones((6, 6))
HALF, PIXEL = np.eye(6), np.pad(np.ones((1, 1)), ((0, 5), (2, 3)))


def softmaxed(grid):
    return torch.softmax(torch.randn(2, int(np.prod(grid)), generator=torch.Generator().manual_seed(3)), -1)


def on_one_cell(cell):
    a_SK = torch.zeros(2, 9)
    a_SK[:, cell] = 1
    return a_SK


# Name → grid, attention [2 layers, K], mask. HALF covers every cell of the diagonal in part and no other.
CASES = {
    "empty mask": ((1, 3, 3), softmaxed((1, 3, 3)), ZERO),
    "mask of everything": ((1, 3, 3), softmaxed((1, 3, 3)), ONE),
    "mask of one pixel": ((1, 3, 3), softmaxed((1, 3, 3)), PIXEL),
    "one cell": ((1, 1, 1), torch.ones(2, 1), HALF),
    "one cell, empty mask": ((1, 1, 1), torch.ones(2, 1), ZERO),
    "one cell that is not attended": ((1, 1, 1), torch.zeros(2, 1), HALF),
    "one cell in each of two frames": ((2, 1, 1), torch.tensor([[0.25, 0.75], [0.5, 0.5]]), HALF),
    "one pixel, one cell": ((1, 1, 1), torch.ones(2, 1), np.ones((1, 1))),
    "nothing attended": ((1, 3, 3), torch.zeros(2, 9), HALF),
    "nothing attended, empty mask": ((1, 3, 3), torch.zeros(2, 9), ZERO),
    "nothing attended, mask of everything": ((1, 3, 3), torch.zeros(2, 9), ONE),
    "nothing attended on the mask": ((1, 3, 3), 0.5 * (on_one_cell(1) + on_one_cell(2)), HALF),
    "1 on a cell of the mask": ((1, 3, 3), on_one_cell(4), HALF),
    "1 on a cell beside the mask": ((1, 3, 3), on_one_cell(1), HALF),
    "1 on a cell, empty mask": ((1, 3, 3), on_one_cell(1), ZERO),
    "layers that look at different cells": ((1, 3, 3), torch.cat([on_one_cell(0)[:1], on_one_cell(5)[:1]]), HALF),
    "even attention": ((1, 3, 3), torch.full((2, 9), 1 / 9), HALF),
    **{f"{mass} of the attention": ((1, 3, 3), mass * softmaxed((1, 3, 3)), HALF) for mass in (1e-40, 1e-30, 1e-20)},
    "attended in the other frame": ((2, 1, 2), torch.tensor([[0.0, 0.0, 0.5, 0.5]] * 2), HALF),
}


def score(case, **changes):
    """(loss, count, its gradient by the attention [S, K])."""
    grid, a_SK, mask_hw = CASES[case] if isinstance(case, str) else case
    K = int(np.prod(grid))
    sample = scenes.Sample(0, 0, K + 2, [*range(K)], grid, [((K + 1,), {0: mask_hw})])
    objective = Objective(**{"layers": (0, 1), **changes})
    a_SNRK = a_SK[:, None, None].clone().requires_grad_()
    total, count = mask_loss(scenes.plan([sample], objective), a_SNRK, objective)
    total.backward()
    return total.item(), count, a_SNRK.grad[:, 0, 0]


def together(cases, monkeypatch, **changes):
    """What `score` says of each case, from one batch of them: losses [N], the number of maps, gradients [S, N, K]."""
    losses = []

    def recorded(*args):
        losses.append(per_map(*args))
        return losses[-1]

    monkeypatch.setattr(maps, "per_map", recorded)
    samples = [
        scenes.Sample(row, 0, a_SK.shape[1] + 2, [*range(a_SK.shape[1])], grid, [((a_SK.shape[1] + 1,), {0: mask_hw})])
        for row, (grid, a_SK, mask_hw) in enumerate(cases)
    ]
    a_NKS = torch.nn.utils.rnn.pad_sequence([a_SK.T for _, a_SK, _ in cases], batch_first=True)
    a_SNRK = a_NKS.permute(2, 0, 1)[:, :, None].clone().requires_grad_()
    objective = Objective(**{"layers": tuple(range(len(a_SNRK))), **changes})
    total, count = mask_loss(scenes.plan(samples, objective), a_SNRK, objective)
    total.backward()
    return torch.cat(losses).detach(), count, a_SNRK.grad[:, :, 0]


def check_finite(value_N, gradient, where, loss="bce"):
    # A perfect map costs 0, or, below what fp32 tells from it, less; a divergence from a map that is 1 on all 36
    # pixels, and so no distribution, at least -log 36.
    assert value_N.min() > (-log(ONE.size) if loss == "kl" else 0) - 1e-6, where
    assert value_N.max() < 50, where
    assert gradient.isfinite().all(), where


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("normalise", NORMALS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_combination_is_finite_in_every_case(fusion, normalise, loss, monkeypatch):
    for resize in RESIZES:
        changes = {"fusion": fusion, "normalise": normalise, "mask_loss": loss, "resize": resize}
        value_N, count, gradient = together(CASES.values(), monkeypatch, **changes)
        assert count == len(value_N) == len(CASES)
        check_finite(value_N, gradient, resize, loss)


@pytest.mark.parametrize(
    ("field", "name"),
    [*(("fusion", f) for f in FUSIONS), *(("normalise", n) for n in NORMALS), *(("mask_loss", n) for n in LOSSES)],
)
def test_every_choice_is_finite_in_every_case_alone(field, name):
    for case, resize in product(CASES, RESIZES):
        value, count, gradient = score(case, resize=resize, **{field: name})
        assert count == 1, case
        check_finite(torch.tensor([value]), gradient, (case, resize), name)


@pytest.mark.parametrize("normalise", NORMALS)
@pytest.mark.parametrize("fusion", FUSIONS)
def test_hardly_attended_masks_on_a_grid_of_thousands_leave_a_finite_gradient(fusion, normalise, monkeypatch):
    """The gradient of a logarithm is 1 / a: 10⁴⁰ does not fit fp32, and six layers of 1e-7 multiplied are 1e-42."""
    mask_hw = np.pad(np.ones((20, 20)), 22)
    for layers in (1, 2, 6):
        share_SK = torch.softmax(torch.randn(layers, 4096, generator=torch.Generator().manual_seed(0)), -1)
        cases = [((1, 64, 64), mass * share_SK, mask_hw) for mass in (1e-3, 1e-18, 1e-25, 1e-34)]
        a_SNK = torch.stack([a_SK for _, a_SK, _ in cases], 1)
        for loss in LOSSES:
            changes = {"fusion": fusion, "normalise": normalise, "mask_loss": loss}
            value_N, count, gradient_SNK = together(cases, monkeypatch, **changes)
            assert count == len(value_N) == len(cases)
            assert value_N.max() < 50
            # By the scores: what reaches the model.
            assert (gradient_SNK * a_SNK).norm(dim=(0, 2)).max() < 100


EVEN = ((1, 3, 3), torch.full((2, 9), 1 / 9), ZERO)
# What an empty mask costs an even map of 1/9: the paper's loss and its relatives ask for darkness, cross-entropy for
# nothing, because no distribution is empty.
EMPTY = {
    "bce": -log(8 / 9),
    "weighted-bce": -0.5 * log(8 / 9),
    "dice": 1 - 1 / (1 + 1),
    "miou": 1 - 1 / (1 + 1),
    "focal": -0.75 * (1 / 9) ** 2 * log(8 / 9),
    "cross-entropy": 0.0,
    "kl": 0.0,
}
# A mask of everything wants ones everywhere, and cross-entropy an even map, which it is.
FULL = {
    "bce": -log(1 / 9),
    "weighted-bce": -0.5 * log(1 / 9),
    "dice": 1 - (2 * 1 + 1) / (1 + 9 + 1),
    "miou": 1 - (1 + 1) / (9 + 1),
    "focal": -0.25 * (8 / 9) ** 2 * log(1 / 9),
    "cross-entropy": 0.0,
    "kl": 0.0,
}


@pytest.mark.parametrize("loss", EMPTY)
def test_empty_and_full_masks_by_hand(loss):
    for mask_hw, wanted in ((ZERO, EMPTY), (ONE, FULL)):
        value, _, gradient = score((*EVEN[:2], mask_hw), mask_loss=loss, resize="mask-to-grid")
        assert value == pytest.approx(wanted[loss], rel=1e-5, abs=1e-6)
        # An empty mask pushes attention down, a full one up; an even map that sums to 1 is all cross-entropy asks for,
        # and "kl" leaves what lies beside a mask to the softmax.
        indifferent = loss == "cross-entropy" or (loss == "kl" and mask_hw is ZERO)
        sign = 0 if indifferent else (1 if mask_hw is ZERO else -1)
        assert gradient.sum().item() * sign >= 0
        assert (gradient.abs().max() > 1e-4) == (sign != 0)


# What each normalisation makes of nothing, of a single cell of 0.4 and of an even patch of 0.1, under a mask of two
# cells (of one, where there is one), and of anything under an empty mask (None: as ever).
NORMAL = {
    "none": (0.0, 0.4, 0.1, None),
    "minmax": (0.0, 0.0, 0.0, None),
    "max": (0.0, 1.0, 1.0, None),
    "sum": (0.0, 1.0, 0.25, None),
    "area": (0.0, 1.0, 0.5, 0.0),
    "logit": (0.0, 0.5, 0.5, None),
}


@pytest.mark.parametrize("name", NORMAL)
def test_normalisations_of_nothing_of_one_cell_and_of_an_even_patch_by_hand(name):
    normalise = registry.load("swim.supervision.normalise", name)
    nothing, one_cell, even, empty = NORMAL[name]
    patches = [(torch.zeros(1, 2, 2), 2.0, nothing), (torch.full((1, 1, 1), 0.4), 1.0, one_cell)]
    patches += [(torch.full((1, 2, 2), 0.1), 2.0, even)]
    patches += [(torch.rand(1, 2, 2), 0.0, empty)] if empty is not None else []
    for map_PHW, area, wanted in patches:
        found_PHW = normalise(map_PHW, torch.tensor([area]))
        torch.testing.assert_close(found_PHW, torch.full_like(found_PHW, wanted))


@pytest.mark.parametrize("name", FUSIONS)
def test_fusions_of_nothing_are_nothing_and_of_1_everywhere_alike_are_1(name):
    fuse = registry.load("swim.supervision.fusion", name)
    assert fuse(torch.zeros(2, 1, 9)).abs().max() == 0
    wanted = {"add": 2.0}.get(name, 1.0)
    found_K = fuse(on_one_cell(4)[:, None])[0]
    assert found_K[4].item() == pytest.approx(wanted, rel=1e-5)
    assert found_K.sum().item() == pytest.approx(wanted, rel=1e-5)


def test_bce_of_exactly_nothing_and_exactly_1_by_hand():
    """One of four cells is the mask: 46.05 = −log 1e-20 for a 0 there, 13.8 = −log 1e-6 for a 1 beside it (fp32 rounds
    1 − 1e-6); no gradient from either, and none to be had from a softmax that is exactly 0 or 1."""
    mask_hw = np.pad(np.ones((1, 1)), ((0, 1), (0, 1)))
    for a_K, wanted in (([1, 0, 0, 0], 0.0), ([0, 0, 0, 0], 46.05 / 4), ([0, 1, 0, 0], (46.05 + 13.8) / 4)):
        value, _, gradient = score(((1, 2, 2), torch.tensor([a_K, a_K]).float(), mask_hw))
        assert value == pytest.approx(wanted, rel=1e-2, abs=1e-5)
        assert gradient.abs().max() < 1


@pytest.mark.parametrize("heads", registry.names("swim.supervision.heads"))
@pytest.mark.parametrize("domain", registry.names("swim.supervision.domain"))
def test_scores_of_hundreds_leave_queries_and_keys_a_finite_gradient(domain, heads):
    """Attention is then exactly 0 or 1 almost everywhere, text and padding included."""
    for spread in (30, 1000):
        inputs = scenes.attention_inputs(spread=spread)
        objective = Objective(layers=(0, 2), domain=domain, heads=heads)
        total, count = scenes.supervised(scenes.samples(), objective, *inputs)
        total.backward()
        assert count == 7
        assert total.isfinite()
        for layer, tensor in product((0, 2), inputs):
            assert tensor[layer].grad.isfinite().all()


@pytest.mark.parametrize(("domain", "mean_a"), [("video", 0.25), ("frame", 0.5), ("all-causal", 0.0), ("all", 0.0)])
def test_a_noun_that_looks_at_text_alone_has_a_map_of_zeros(domain, mean_a):
    """Scores 200 lower on all visual tokens than on one word: exactly 0 in fp32, except where the softmax never sees
    the word."""
    sample = scenes.Sample(0, 0, 7, [1, 2, 3, 4], (2, 1, 2), [((6,), {0: np.eye(2), 3: ZERO})])
    key_BGLD = torch.zeros(1, 1, 7, 1)
    key_BGLD[0, 0, 5] = 200.0
    key_BGLD.requires_grad_()
    query_BHLD = torch.ones(1, 1, 7, 1, requires_grad=True)
    objective = Objective(layers=(0,), domain=domain)
    reading, a_SNRK = scenes.read([sample], objective, [query_BHLD], [key_BGLD])
    assert (a_SNRK == mean_a).all()
    total, _ = mask_loss(reading, a_SNRK, objective)
    total.backward()
    assert total.isfinite()
    assert query_BHLD.grad.isfinite().all()
    assert key_BGLD.grad.isfinite().all()


def test_what_is_not_annotated_is_neither_supervised_nor_counted():
    """A noun on one of three patches; a noun on none; a sample without either: their attention may be anything."""
    mask_hw = np.eye(2)
    nouns = [((9,), {2: mask_hw}), ((10,), {}), ((11,), {4: mask_hw, 5: mask_hw})]
    sample = scenes.Sample(0, 0, 12, [*range(6)], (3, 1, 2), nouns)
    objective = Objective(layers=(0,))
    reading = scenes.plan([sample], objective)
    a_SNRK = torch.softmax(torch.randn(1, 1, 3, 6), -1).requires_grad_()
    total, count = mask_loss(reading, a_SNRK, objective)
    assert count == 2
    total.backward()
    assert a_SNRK.grad[0, 0].ne(0).tolist() == [
        [False, False, True, True, False, False],
        [False] * 6,
        [False, False, False, False, True, True],
    ]
    nothing = scenes.Sample(0, 0, 12, [*range(6)], (3, 1, 2), [((10,), {})])
    total, count = mask_loss(scenes.plan([nothing], objective), a_SNRK[:, :, :1], objective)
    assert (total.item(), count) == (0.0, 0)
    assert scenes.plan([scenes.Sample(0, 0, 12, [*range(6)], (3, 1, 2), [])], objective) is None


@pytest.mark.fault(
    injection="truncation cuts off a supervised noun",
    symptom="the noun supervises another token",
    expected="error names the noun",
)
def test_a_noun_cut_off_by_truncation_is_named(model, clips, batch_of):
    batch = batch_of(clips[0])
    last = batch.nouns[0][-1]
    message = r"noun at tokens .* outside the document's tokens \[0, \d+\); was the text truncated\? Drop the noun"
    for cut in (last.tokens[-1], last.tokens[0] - 3):
        inputs = dict(batch.inputs)
        for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
            inputs[name] = inputs[name][:, :cut]
        with pytest.raises(ValueError, match=message):
            SupervisedModel(model, Objective(layers=(0, 2)))(inputs, batch.labels_BL[:, :cut], batch.nouns)


def test_an_empty_mask_in_a_real_batch_counts_and_is_finite(model, clips, batch_of):
    """An annotated frame without a pixel of the object (it left the picture) is supervised: nothing is to be seen."""
    gone = {slot: scenes.rle(np.zeros((rle.height, rle.width))) for slot, rle in clips[0].masks[0].items()}
    batch = batch_of(replace(clips[0], masks=tuple(gone for _ in clips[0].masks)))
    for loss, normalise in product(LOSSES, NORMALS):
        objective = Objective(layers=(0, 2), mask_loss=loss, normalise=normalise)
        found = SupervisedModel(model, objective)(batch.inputs, batch.labels_BL, batch.nouns)
        assert found.mask_count == 2 * len(batch.nouns[0])
        assert found.mask.isfinite()
        model.zero_grad()
        found.mask_sum.backward()
        for parameter in model.parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all()
