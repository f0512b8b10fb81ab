"""The probe holds next to nothing and cannot fail silently. (That it reads what eager attention computes, for every
model family, is in test_families.py.)"""

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from swim import registry
from swim.data.documents import documents
from swim.recipe import Objective, Readout
from swim.supervision.attention import AttentionProbe, attach
from swim.supervision.maps import plan_reading
from swim.supervision.objective import SupervisedModel

LAYERS = (0, 2)


def three(clips):
    """Three, two and one turns: unequal lengths."""
    return [replace(clip, turns=clip.turns[:n], masks=clip.masks[: 2 * n]) for n, clip in enumerate(clips[:3], start=1)]


def read(model, batch, **readout):
    """The maps of a batch, [S, N, R, K]."""
    found = documents(model.config, batch.inputs)
    reading = plan_reading(found, batch.nouns, Readout(layers=LAYERS, **readout), model, torch.device("cpu"))
    model(**batch.inputs, use_cache=False, probe=reading.probe)
    return reading.probe.stacked_SNRK()


@pytest.mark.parametrize("domain", registry.names("swim.supervision.domain"))
def test_a_shorter_video_in_the_batch_leaves_its_padded_columns_empty(model, clips, batch_of, domain):
    short = replace(
        clips[1],
        frames_THWC=clips[1].frames_THWC[:2],
        frame_indices=(0, 1),
        masks=tuple({t: rle for t, rle in track.items() if t < 2} for track in clips[1].masks),
    )
    with torch.no_grad():
        found_SRK = read(model, batch_of(clips[0], short), domain=domain)[:, 1]
        alone_SRK = read(model, batch_of(short), domain=domain)[:, 0]
    assert found_SRK[..., 64:].abs().max() == 0
    torch.testing.assert_close(found_SRK[..., :64], alone_SRK, atol=1e-6, rtol=0)


@pytest.mark.parametrize("domain", ["video", "frame"])
def test_scores_far_apart_neither_overflow_nor_vanish(domain):
    # Patch 0 scores 300 more than patch 1: in fp32 exp(-300) is 0, yet each patch has its own distribution.
    key_BGKD = torch.cat([torch.linspace(300, 303, 4), torch.linspace(0, 3, 4)]).reshape(1, 1, 8, 1)
    probe = AttentionProbe(
        layers=(0,),
        row_N=torch.tensor([0]),
        start_N=torch.tensor([0]),
        end_N=torch.tensor([8]),
        rows_NR=torch.tensor([[7]]),
        columns_NK=torch.arange(8)[None],
        valid_NK=torch.ones(1, 8, dtype=torch.bool),
        frame_NK=torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]]),
        domain=domain,
    )
    probe.read(0, torch.ones(1, 2, 8, 1), key_BGKD, 1.0)
    one_K = torch.softmax(torch.arange(4.0), 0)
    wanted_K = torch.cat([one_K, one_K if domain == "frame" else torch.zeros(4)])
    torch.testing.assert_close(probe.maps[0][0, 0], wanted_K)


def forward(model, batch):
    return SupervisedModel(model, Objective(layers=LAYERS))(batch.inputs, batch.labels_BL, batch.nouns)


def mask_gradients(model, batch):
    model.zero_grad()
    forward(model, batch).mask.backward()
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
    supervised, batch = SupervisedModel(stock, Objective(layers=LAYERS)), batch_of(clips[0])
    stock.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    with pytest.raises(RuntimeError, match="no gradient"):
        supervised(batch.inputs, batch.labels_BL, batch.nouns)


def test_a_model_without_the_probe_is_an_error(stock, clips, batch_of):
    with pytest.raises(RuntimeError, match=r"layers \[0, 2\].*attach\(model\)"):
        read(stock, batch_of(clips[0]))


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
    with torch.no_grad():
        assert read(stock, batch).isfinite().all()


class Kept:
    def __init__(self, tensor):
        self.tensor = tensor.detach()  # with its graph, it would hold the node that saved it


def held_bytes(model, batch, objective):
    """Bytes a forward pass still keeps for the backward pass when it is over, every storage once."""
    kept = []

    def keep(tensor):
        held = Kept(tensor)
        kept.append(weakref.ref(held))
        return held

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held.tensor):
        losses = SupervisedModel(model, objective)(batch.inputs, batch.labels_BL, batch.nouns)

    def alive():
        return [held().tensor.untyped_storage() for held in kept if held() is not None]

    return sum({storage.data_ptr(): storage.nbytes() for storage in alive()}.values()), losses, alive


def test_supervision_holds_maps_and_keys_but_no_scores_and_nothing_at_mask_resolution(model, clips, batch_of):
    batch = batch_of(*three(clips))
    model.train()
    held, losses, _ = held_bytes(model, batch, Objective(layers=LAYERS))
    plain, *_ = held_bytes(model, batch, Objective(layers=LAYERS, mask_weight=0))
    S, N, R, K, H = len(LAYERS), 3, 6, 128, 4
    length = batch.labels_BL.shape[1]
    keys = S * N * length * 2 * 8 * 4  # 2 key heads of width 8; where SDPA repeats them, ours are a copy of their own
    maps = 4 * N * R * K
    ours = held - plain - keys
    assert 0 < ours < maps * (S + 2)
    assert S * H * maps > 2 * ours  # a softmax over heads alone would have been more
    assert losses.mask_count * 64 * 64 * 4 > 2 * ours  # and so would one tensor at mask resolution


def test_the_head_runs_on_labelled_positions_only(model, clips, batch_of):
    batch, seen = batch_of(*three(clips)), []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.numel()))
    losses = forward(model, batch)
    assert seen == [losses.text_count * model.config.text_config.vocab_size]
    assert losses.text_count < batch.labels_BL.numel() / 4


def test_a_forward_pass_is_freed_when_its_losses_are(model, clips, batch_of):
    """No reference cycle: what waits for a garbage collection piles up over steps."""
    gc.disable()
    try:
        _, losses, alive = held_bytes(model.train(), batch_of(clips[0]), Objective(layers=LAYERS))
        assert len(alive()) > 100
        del losses
        assert alive() == []
    finally:
        gc.enable()
