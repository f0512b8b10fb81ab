"""AdamW as recipes ask for it: bf16 weights follow the fp32 ones that they are the rounded copies of."""

import copy

import pytest
import torch
from torch import nn

from swim.optimizer import MasterAdamW, build_optimizer
from swim.recipe import HubModel, Optim

OPTIM = Optim(lr=2e-5, weight_decay=0.1)


def weights(dtype):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter((torch.randn(shape, generator=generator) * 0.02).to(dtype)) for shape in ((7, 5), (5,))]


def steps(optimizer, parameters, seeds):
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator).bfloat16().to(parameter.dtype)
        optimizer.step()


def test_bf16_weights_are_the_rounded_masters_of_plain_adamw():
    rounded, exact = weights(torch.bfloat16), [nn.Parameter(w.detach().float()) for w in weights(torch.bfloat16)]
    ours, theirs = build_optimizer(rounded, OPTIM), build_optimizer(exact, OPTIM)
    assert isinstance(ours, MasterAdamW)
    assert type(theirs) is torch.optim.AdamW
    steps(ours, rounded, range(20))
    steps(theirs, exact, range(20))
    for weight, reference in zip(rounded, exact, strict=True):
        assert torch.equal(ours.state[weight]["master"], reference)
        assert torch.equal(weight, reference.bfloat16())
    # Without masters: a step of 2e-5 is below half a unit in the last place of most of these weights.
    lost = weights(torch.bfloat16)
    steps(torch.optim.AdamW(lost, lr=OPTIM.lr, weight_decay=OPTIM.weight_decay), lost, range(20))
    start = weights(torch.bfloat16)
    assert (lost[0] == start[0]).float().mean() > 2 * (rounded[0] == start[0]).float().mean()


def test_masters_and_moments_stay_fp32_in_a_checkpoint():
    whole, parts = weights(torch.bfloat16), weights(torch.bfloat16)
    optimizer = build_optimizer(whole, OPTIM)
    steps(optimizer, whole, range(6))
    first = build_optimizer(parts, OPTIM)
    steps(first, parts, range(3))
    second = build_optimizer(parts, OPTIM)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert {value.dtype for value in second.state[parts[0]].values()} == {torch.float32}
    steps(second, parts, range(3, 6))
    for weight, other in zip(whole, parts, strict=True):
        for key, value in optimizer.state[weight].items():
            assert torch.equal(value, second.state[other][key]), key


def test_frozen_weights_have_no_state_and_mixed_ones_are_refused():
    fp32, bf16 = weights(torch.float32), weights(torch.bfloat16)
    frozen = bf16[0].requires_grad_(False)
    optimizer = build_optimizer([*fp32, frozen], OPTIM)
    assert optimizer.param_groups[0]["params"] == fp32
    # Otherwise every step would need 4 bytes more for each weight.
    assert optimizer.param_groups[0]["foreach"] is False
    with pytest.raises(ValueError, match="several dtypes"):
        build_optimizer([*fp32, bf16[1]], OPTIM)


def test_bf16_weights_compute_in_bf16():
    with pytest.raises(ValueError, match="set both"):
        HubModel(dtype="float32", weights="bfloat16")
