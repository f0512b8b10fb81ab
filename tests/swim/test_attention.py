"""The probe reads what eager attention computes, changes nothing, and cannot fail silently."""

import copy
from dataclasses import replace

import pytest
import torch

from swim.recipe import Objective
from swim.supervision.attention import AttentionProbe, attach
from swim.supervision.objective import SupervisedModel, plan_probe

LAYERS = (0, 2)


def three(clips):
    """Three, two and one turns: unequal lengths."""
    return [replace(clip, turns=clip.turns[:n], masks=clip.masks[: 2 * n]) for n, clip in enumerate(clips[:3], start=1)]


def padded_left(batch):
    """The same batch with its padding in front, and how far each sample moved."""
    shift_B = (batch.inputs["attention_mask"] == 0).sum(1)
    rolled = {
        name: torch.stack([row.roll(int(n)) for row, n in zip(batch.inputs[name], shift_B, strict=True)])
        for name in ("input_ids", "attention_mask", "mm_token_type_ids")
    }
    return batch.inputs | rolled, shift_B[:, None]


def planned(batch, domain, side):
    probe = plan_probe(batch, LAYERS, "noun", domain, torch.device("cpu"))
    if side == "right":
        return probe, batch.inputs
    inputs, shift_B1 = padded_left(batch)
    return replace(probe, rows_BR=probe.rows_BR + shift_B1, columns_BK=probe.columns_BK + shift_B1), inputs


def eager_SBRK(stock, inputs, probe):
    """`output_attentions`, cut out and renormalised over the visual columns (of each patch), mean over heads."""
    model = copy.deepcopy(stock)
    model.get_decoder().config._attn_implementation = "eager"
    attentions = model(**inputs, output_attentions=True, use_cache=False).attentions
    maps = []
    for layer in probe.layers:
        rows = []
        for b in range(len(probe.rows_BR)):
            a_HRK = attentions[layer][b][:, probe.rows_BR[b]][..., probe.columns_BK[b]]
            a_HRK = a_HRK * probe.valid_BK[b]
            for patch in range(2 if probe.domain == "frame" else 1):
                inside_K = (probe.frame_BK[b] == patch) | (probe.domain == "video")
                a_HRK = torch.where(inside_K, a_HRK / (a_HRK * inside_K).sum(-1, keepdim=True), a_HRK)
            rows.append(a_HRK.mean(0))
        maps.append(torch.stack(rows))
    return torch.stack(maps), model


def real_rows(batch):
    """Padded noun rows read position 0, where eager has no visual column to show."""
    return torch.tensor([[r < len(s.nouns) for r in range(6)] for s in batch.samples])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("domain", ["video", "frame"])
def test_probe_is_eager_attention_renormalised_and_so_is_its_gradient(stock, clips, batch_of, domain, side):
    batch = batch_of(*three(clips))
    probe, inputs = planned(batch, domain, side)
    real_BR = real_rows(batch)
    with torch.no_grad():
        plain_logits = stock(**inputs, use_cache=False).logits
    expected_SBRK, eager = eager_SBRK(stock, inputs, probe)
    attach(stock)
    logits = stock(**inputs, use_cache=False, probe=probe).logits
    assert torch.equal(logits, plain_logits)
    assert torch.equal(stock(**inputs, use_cache=False).logits, plain_logits)
    found_SBRK = probe.stacked_SBRK()
    assert found_SBRK.shape == (2, 3, 6, 128)
    assert (found_SBRK - expected_SBRK)[:, real_BR].abs().max() < 1e-6
    mass = found_SBRK[:, real_BR].sum(-1)
    torch.testing.assert_close(mass, torch.full_like(mass, 2.0 if domain == "frame" else 1.0))

    weight_SBRK = torch.randn(found_SBRK.shape, generator=torch.Generator().manual_seed(0))
    for attention_SBRK in (found_SBRK, expected_SBRK):
        (attention_SBRK * weight_SBRK)[:, real_BR].sum().backward()
    for name, parameter in stock.named_parameters():
        wanted = dict(eager.named_parameters())[name].grad
        assert (parameter.grad is None) == (wanted is None), name
        if wanted is not None and wanted.norm() > 1e-6:
            assert (parameter.grad - wanted).norm() < 1e-5 * wanted.norm(), name


@pytest.mark.parametrize("domain", ["video", "frame"])
def test_a_shorter_video_in_the_batch_leaves_its_padded_columns_empty(model, clips, batch_of, domain):
    short = replace(
        clips[1],
        frames_THWC=clips[1].frames_THWC[:2],
        frame_indices=(0, 1),
        masks=tuple({t: rle for t, rle in track.items() if t < 2} for track in clips[1].masks),
    )
    batch = batch_of(clips[0], short)
    probe = plan_probe(batch, LAYERS, "noun", domain, torch.device("cpu"))
    alone = plan_probe(batch_of(short), LAYERS, "noun", domain, torch.device("cpu"))
    with torch.no_grad():
        model(**batch.inputs, probe=probe)
        model(**batch_of(short).inputs, probe=alone)
    found_SRK = probe.stacked_SBRK()[:, 1]
    assert found_SRK[..., 64:].abs().max() == 0
    torch.testing.assert_close(found_SRK[..., :64], alone.stacked_SBRK()[:, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("domain", ["video", "frame"])
def test_scores_far_apart_neither_overflow_nor_vanish(domain):
    # Patch 0 scores 300 more than patch 1: in fp32 exp(-300) is 0, yet each patch has its own distribution.
    key_BGKD = torch.cat([torch.linspace(300, 303, 4), torch.linspace(0, 3, 4)]).reshape(1, 1, 8, 1)
    probe = AttentionProbe(
        layers=(0,),
        rows_BR=torch.tensor([[7]]),
        columns_BK=torch.arange(8)[None],
        valid_BK=torch.ones(1, 8, dtype=torch.bool),
        frame_BK=torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]]),
        domain=domain,
    )
    probe.read(0, torch.ones(1, 2, 8, 1), key_BGKD, 1.0)
    one_K = torch.softmax(torch.arange(4.0), 0)
    wanted_K = torch.cat([one_K, one_K if domain == "frame" else torch.zeros(4)])
    torch.testing.assert_close(probe.maps[0][0, 0], wanted_K)


def mask_gradients(model, batch):
    model.zero_grad()
    losses = SupervisedModel(model, Objective(layers=LAYERS))(batch)
    (losses.mask_sum / losses.mask_count).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_checkpointing_without_reentry_keeps_the_gradient(model, clips, batch_of):
    batch = batch_of(*three(clips))
    model.train()
    plain = mask_gradients(model, batch)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    attach(model)
    again = mask_gradients(model, batch)
    assert plain.keys() == again.keys()
    assert max(float(g.norm()) for g in plain.values()) > 0
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-6, atol=1e-9)


def test_reentrant_checkpointing_is_refused_before_and_after_attaching(stock, clips, batch_of):
    stock.train().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    with pytest.raises(ValueError, match="reentrant"):
        attach(stock)
    stock.gradient_checkpointing_disable()
    attach(stock)
    stock.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    with pytest.raises(RuntimeError, match="no gradient"):
        SupervisedModel(stock, Objective(layers=LAYERS))(batch_of(clips[0]))


def test_a_model_without_the_probe_is_an_error(stock, clips, batch_of):
    with pytest.raises(RuntimeError, match=r"layers \[0, 2\].*attach\(model\)"):
        SupervisedModel(stock, Objective(layers=LAYERS))(batch_of(clips[0]))


def test_an_implementation_without_a_twin_is_refused(stock):
    stock.get_decoder().config._attn_implementation = "flex_attention"
    with pytest.raises(ValueError, match="flex_attention"):
        attach(stock)


def test_attaching_twice_and_to_eager(stock, clips, batch_of):
    batch = batch_of(clips[0])
    stock.get_decoder().config._attn_implementation = "eager"
    attach(stock)
    attach(stock)
    assert stock.get_decoder().config._attn_implementation == "swim_eager"
    probe = plan_probe(batch, LAYERS, "noun", "video", torch.device("cpu"))
    with torch.no_grad():
        stock(**batch.inputs, use_cache=False, probe=probe)
    assert probe.stacked_SBRK().isfinite().all()
