"""The objective adds up: over samples, over frames, over nouns; and every registered choice works with every other."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from swim import registry
from swim.data import masks
from swim.data.encode import Encoder
from swim.data.types import Turn
from swim.recipe import Objective, Recipe
from swim.supervision.objective import SupervisedModel, fused_maps, mask_loss, plan_probe, targets
from swim.supervision.presets import PRESETS

LAYERS = (0, 2)
PAPER = Objective(layers=LAYERS)


def losses(model, batch, objective=PAPER):
    with torch.no_grad():
        return SupervisedModel(model, objective)(batch)


def asking(clip, *turns, tracks):
    """A clip with other words; each tag takes the mask of an object (by index)."""
    return replace(
        clip, turns=tuple(Turn(human=h, gpt=g) for h, g in turns), masks=tuple(clip.masks[i] for i in tracks)
    )


def uneven(clips):
    """Unequal lengths, unequal numbers of supervised patches, and one clip without any tag's mask."""
    first, second, third, fourth = clips[:4]
    return [
        first,
        replace(second, turns=second.turns[:1], masks=second.masks[:2]),
        replace(third, masks=tuple({t: rle for t, rle in track.items() if t >= 2} for track in third.masks)),
        replace(fourth, turns=fourth.turns[:2], masks=()),
    ]


@pytest.mark.parametrize("domain", ["video", "frame"])
def test_a_batch_is_the_count_weighted_mean_of_its_singles(model, clips, batch_of, domain):
    objective = PAPER.model_copy(update={"domain": domain})
    together = losses(model, batch_of(*uneven(clips)), objective)
    singles = [losses(model, batch_of(clip), objective) for clip in uneven(clips)]
    assert together.text_count == sum(s.text_count for s in singles)
    assert [s.mask_count for s in singles] == [12, 4, 6, 0]
    assert together.mask_count == 22
    torch.testing.assert_close(together.text_sum, sum(s.text_sum for s in singles), rtol=1e-5, atol=0)
    torch.testing.assert_close(together.mask_sum, sum(s.mask_sum for s in singles), rtol=1e-5, atol=0)
    # A weighted mean indeed: the mean of the means is another number.
    plain_mean = np.mean([float(s.mask_sum) / s.mask_count for s in singles if s.mask_count])
    assert abs(plain_mean - float(together.mask_sum) / together.mask_count) > 1e-6


def test_text_loss_is_the_models_own(model, clips, batch_of):
    batch = batch_of(*uneven(clips))
    found = losses(model, batch)
    with torch.no_grad():
        wanted = model(**batch.inputs, labels=batch.labels_BL, use_cache=False).loss
    torch.testing.assert_close(found.text_sum / found.text_count, wanted, rtol=1e-5, atol=0)


def test_text_only_batches_and_weight_zero_have_no_maps(model, clips, batch_of):
    silent = losses(model, batch_of(replace(clips[0], masks=())))
    control = losses(model, batch_of(clips[0]), PAPER.model_copy(update={"mask_weight": 0.0}))
    for found in (silent, control):
        assert (found.mask_sum.item(), found.mask_count) == (0.0, 0)
        assert found.text_sum > 0


def test_both_frames_of_a_patch_count(clips, encoder):
    track = next(track for track in clips[0].masks if track[0] != track[1] != track[2] != track[3])
    frame_THW = np.stack([masks.decode(track[t]) for t in range(4)]).astype(np.float32)

    def rendered(frames, **how):
        clip = replace(clips[0], masks=({t: track[t] for t in frames}, *clips[0].masks[1:]))
        return encoder(clip).patch_masks(0, (64, 64), **how)

    mask_PHW, annotated_P = rendered((0, 1, 2, 3))
    np.testing.assert_array_equal(mask_PHW, (frame_THW[::2] + frame_THW[1::2]) / 2)
    assert annotated_P.all()
    np.testing.assert_array_equal(rendered((0, 1, 2, 3), union=True)[0], np.maximum(frame_THW[::2], frame_THW[1::2]))
    for lone in range(4):  # an isolated frame keeps its mask, first or second of its pair, frame 0 included
        mask_PHW, annotated_P = rendered((lone,))
        np.testing.assert_array_equal(mask_PHW[lone // 2], frame_THW[lone])
        assert annotated_P.tolist() == [lone < 2, lone >= 2]
        assert not mask_PHW[1 - lone // 2].any()


def test_supervised_maps_are_the_annotated_patches_with_their_masks(model, clips, batch_of):
    batch = batch_of(*uneven(clips))
    a_SBRK = torch.rand(2, 4, 6, 128, generator=torch.Generator().manual_seed(0))
    maps = fused_maps(batch, a_SBRK, "mean", "none", [list(s.nouns) for s in batch.samples])
    assert [(m.noun.tag, m.patch) for m in maps if m.sample == 2] == [(tag, 1) for tag in range(6)]
    for item in (maps[0], maps[5], maps[-1]):
        cells_HW = a_SBRK[:, item.sample, item.noun.tag].mean(0).reshape(2, 8, 8)[item.patch]
        torch.testing.assert_close(item.map_HW, cells_HW)
    found_PHW = targets(batch.samples, maps, (64, 64))
    for item, found_HW in zip(maps, found_PHW, strict=True):
        wanted_THW, _ = batch.samples[item.sample].patch_masks(item.noun.tag, (64, 64))
        np.testing.assert_array_equal(found_HW.numpy(), wanted_THW[item.patch])


def test_equal_nouns_keep_their_own_rows_and_masks(model, clips, batch_of, tokenizer):
    clip = asking(
        clips[0],
        ("Describe the <ins>lemon</ins> and the other <ins>lemon</ins>.", "The <ins>lemon</ins> is large."),
        tracks=(0, 2, 4),
    )
    batch = batch_of(clip)
    (sample,) = batch.samples
    rows = [noun.tokens for noun in sample.nouns]
    assert len(set(rows)) == 3
    assert [tokenizer.decode(sample.input_ids_L[list(row)]).strip() for row in rows] == ["lemon"] * 3
    probe = plan_probe(batch, LAYERS, "noun", "video", torch.device("cpu"))
    assert probe.rows_BR.tolist() == [[row[-1] for row in rows]]
    assert losses(model, batch).mask_count == 6
    swapped = losses(model, batch_of(replace(clip, masks=(clip.masks[1], clip.masks[0], clip.masks[2]))))
    assert abs(swapped.mask_sum - losses(model, batch).mask_sum) > 1e-6


def test_a_noun_said_before_untagged_is_not_taken_for_the_tagged_one(clips, tokenizer):
    encoder = Encoder(tokenizer, patch_px=4, merge=2, system="You know what a lemon is.")
    clip = asking(clips[0], ("A lemon is left of the <ins>lemon</ins>, lemon.", "It is a lemon."), tracks=(0,))
    sample = encoder(clip)
    (noun,) = sample.nouns
    said = [i for i, token in enumerate(sample.input_ids_L.tolist()) if tokenizer.decode([token]) == " lemon"]
    assert len(said) == 5
    assert noun.tokens == (said[2],)


def test_query_rows_of_a_noun_of_several_tokens(clips, batch_of, tokenizer):
    clip = asking(clips[0], ("Describe the <ins>brown dog</ins> now.", "A <ins>zebra</ins>."), tracks=(0, 2))
    batch = batch_of(clip)
    (sample,) = batch.samples
    for noun, text in zip(sample.nouns, ("brown dog", "zebra"), strict=True):
        first, *_, last = noun.tokens
        assert last - first > 1
        assert tokenizer.decode(sample.input_ids_L[first : last + 1]).strip() == text
        assert (noun.query("noun"), noun.query("before")) == (last, first - 1)
    for query in ("noun", "before"):
        probe = plan_probe(batch, LAYERS, query, "video", torch.device("cpu"))
        assert probe.rows_BR.tolist() == [[noun.query(query) for noun in sample.nouns]]


CHOICES = [registry.names(f"swim.supervision.{kind}") for kind in ("fusion", "normalise", "losses")]


@pytest.mark.parametrize(("fusion", "normalise", "loss"), list(product(*CHOICES)))
def test_every_combination_is_finite_and_has_a_gradient(clips, batch_of, fusion, normalise, loss):
    """Attention near uniform, as at the start of training."""
    batch = batch_of(*uneven(clips))
    score_SBRK = 0.3 * torch.randn(2, 4, 6, 128, generator=torch.Generator().manual_seed(1))
    for resize in ("map-to-mask", "mask-to-grid"):
        a_SBRK = torch.softmax(score_SBRK, -1).requires_grad_()
        objective = Objective(layers=LAYERS, fusion=fusion, normalise=normalise, mask_loss=loss, resize=resize)
        total, count = mask_loss(batch, a_SBRK, objective)
        total.backward()
        assert count == 22
        assert total.isfinite()
        assert a_SBRK.grad.isfinite().all()
        assert a_SBRK.grad[:, :3].abs().max() > 0
        assert a_SBRK.grad[:, 3].abs().max() == 0  # the clip without masks


@pytest.mark.parametrize("query", ["noun", "before"])
@pytest.mark.parametrize("domain", ["video", "frame"])
def test_every_query_and_domain_trains_the_attention(model, clips, batch_of, query, domain):
    found = SupervisedModel(model, PAPER.model_copy(update={"query": query, "domain": domain}))(batch_of(clips[0]))
    found.mask_sum.backward()
    for layer in LAYERS:
        attention = model.get_decoder().layers[layer].self_attn
        assert 0 < attention.q_proj.weight.grad.norm() < torch.inf
        assert 0 < attention.k_proj.weight.grad.norm() < torch.inf
    assert all(p.grad is None for p in model.model.visual.parameters())


# Frozen on purpose: whoever changes one of these has changed what a preset means. Weights and clips come from fixed
# seeds; (text, mask) loss per token and per map of three clips.
GOLDEN = {"paper": (5.92045886, 0.26670729), "released-fusion": (5.92045886, 0.80768771)}


@pytest.mark.parametrize("preset", GOLDEN)
def test_golden_losses_of_the_presets(model, clips, batch_of, nano: Recipe, preset):
    found = losses(model, batch_of(*clips[:3]), nano.override(PRESETS[preset]).objective)
    values = (float(found.text_sum) / found.text_count, float(found.mask_sum) / found.mask_count)
    assert values == pytest.approx(GOLDEN[preset], rel=1e-5)


def test_the_paper_preset_is_the_default_objective(nano):
    assert nano.override(PRESETS["paper"]) == nano
