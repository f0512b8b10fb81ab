"""The objective adds up: over samples, over frames, over nouns; and every registered choice works with every other."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from pycocotools.mask import encode

from swim import registry
from swim.data.documents import documents
from swim.data.encode import Encoder, collate, pack
from swim.data.masks import encodings
from swim.data.types import Turn
from swim.recipe import Objective, Readout
from swim.supervision.maps import mask_loss, noun_maps, plan_reading
from swim.supervision.objective import SupervisedModel
from swim.supervision.presets import PRESETS
from swim.supervision.targets import patch_frames, render

LAYERS = (0, 2)
PAPER = Objective(layers=LAYERS)


def losses(model, batch, objective=PAPER):
    with torch.no_grad():
        return SupervisedModel(model, objective)(batch.inputs, batch.labels_BL, batch.nouns)


def planned(model, batch, **readout):
    found = documents(model.config, batch.inputs)
    return plan_reading(found, batch.nouns, Readout(layers=LAYERS, **readout), model, torch.device("cpu"))


def coco(mask_HW):
    encoded = encode(np.asfortranarray(mask_HW))
    return {"size": list(mask_HW.shape), "counts": encoded["counts"].decode()}


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


@pytest.mark.parametrize("lay", ["right", "left", "packed"])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_is_the_count_weighted_mean_of_its_singles(model, clips, encoder, tokenizer, nano, preset, lay):
    objective = nano.override(PRESETS[preset]).objective
    samples = [encoder(clip) for clip in uneven(clips)]
    if lay == "packed":
        batch = pack(samples, model.config)
        assert batch.labels_BL.shape == (1, sum(len(s.input_ids_L) for s in samples))
    else:
        batch = collate(samples, tokenizer.pad_token_id, lay)
    together = losses(model, batch, objective)
    singles = [losses(model, collate([sample], tokenizer.pad_token_id), objective) for sample in samples]
    assert together.text_count == sum(s.text_count for s in singles)
    nouns_of_a_turn = 1 if objective.query.startswith("answer") else 2
    assert [s.mask_count for s in singles] == [6 * nouns_of_a_turn, 2 * nouns_of_a_turn, 3 * nouns_of_a_turn, 0]
    assert together.mask_count == 11 * nouns_of_a_turn
    torch.testing.assert_close(together.text_sum, sum(s.text_sum for s in singles), rtol=1e-5, atol=0)
    torch.testing.assert_close(together.mask_sum, sum(s.mask_sum for s in singles), rtol=1e-5, atol=0)
    # A weighted mean indeed: the mean of the means is another number.
    plain_mean = np.mean([float(s.mask) for s in singles if s.mask_count])
    assert abs(plain_mean - float(together.mask)) > 1e-6


def test_packed_samples_do_not_see_each_other(model, clips, encoder):
    """Change the first sample of a row: the second one's maps stay as they are, and padding could not show it."""
    first, other, second = (encoder(clip) for clip in (clips[0], clips[3], clips[1]))
    found = []
    for neighbour in (first, other):
        batch = pack([neighbour, second], model.config)
        reading = planned(model, batch)
        with torch.no_grad():
            model(**batch.inputs, use_cache=False, probe=reading.probe)
        found.append(reading.probe.stacked_SNRK()[:, 1])
    torch.testing.assert_close(*found, atol=1e-7, rtol=1e-5)


def test_text_loss_is_the_models_own(model, clips, batch_of):
    batch = batch_of(*uneven(clips))
    found = losses(model, batch)
    with torch.no_grad():
        wanted = model(**batch.inputs, labels=batch.labels_BL, use_cache=False).loss
    torch.testing.assert_close(found.text, wanted, rtol=1e-6, atol=0)


def test_text_only_batches_and_weight_zero_have_no_maps(model, clips, batch_of):
    silent = losses(model, batch_of(replace(clips[0], masks=())))
    control = losses(model, batch_of(clips[0]), PAPER.model_copy(update={"mask_weight": 0.0}))
    for found in (silent, control):
        assert (found.mask_sum.item(), found.mask_count) == (0.0, 0)
        assert found.text_sum > 0


def test_both_frames_of_a_patch_count(clips):
    track = next(track for track in clips[0].masks if track[0] != track[1] != track[2] != track[3])
    frame_THW = np.stack([encodings.decode(track[t]) for t in range(4)]).astype(np.float32)

    def rendered(frames, which="both", **how):
        patches = patch_frames({t: track[t] for t in frames}, 2, which)
        return {patch: render(rles, (64, 64), **how) for patch, rles in patches.items()}

    found = rendered((0, 1, 2, 3))
    np.testing.assert_array_equal([found[0], found[1]], (frame_THW[::2] + frame_THW[1::2]) / 2)
    union = rendered((0, 1, 2, 3), union=True)
    np.testing.assert_array_equal([union[0], union[1]], np.maximum(frame_THW[::2], frame_THW[1::2]))
    second = rendered((0, 1, 2, 3), "second")
    np.testing.assert_array_equal([second[0], second[1]], frame_THW[1::2])
    for lone in range(4):  # an isolated frame keeps its mask, first or second of its pair, frame 0 included
        found = rendered((lone,))
        assert list(found) == [lone // 2]
        np.testing.assert_array_equal(found[lone // 2], frame_THW[lone])
        assert list(rendered((lone,), "second")) == ([lone // 2] if lone % 2 else [])


def test_supervised_maps_are_the_annotated_patches_with_their_masks(model, clips, batch_of):
    batch = batch_of(*uneven(clips))
    a_SNRK = torch.rand(2, 3, 6, 128, generator=torch.Generator().manual_seed(0))
    found = noun_maps(planned(model, batch), a_SNRK, "mean", "none")
    assert [(m.read.noun.tag, list(m.frames)) for m in found if m.read.document == 2] == [
        (tag, [1]) for tag in range(6)
    ]
    for item in (found[0], found[5], found[-1]):
        cells_THW = a_SNRK[:, item.read.n, item.read.noun.tag].mean(0).reshape(2, 8, 8)
        torch.testing.assert_close(item.map_PHW, cells_THW[list(item.frames)])
        for patch, rles in item.frames.items():
            track = batch.samples[item.read.document].clip.masks[item.read.noun.tag]
            assert rles == tuple(track[t] for t in (2 * patch, 2 * patch + 1))


def test_a_mask_is_met_at_its_own_size(model, clips, batch_of):
    """A mask of twice the video's size, each pixel fourfold: BCE of a bilinear map is what that map gives there."""
    track = {0: encodings.to_rle(coco(np.kron(encodings.decode(clips[0].masks[0][0]), np.ones((2, 2), np.uint8))))}
    clip = replace(clips[0], masks=(track, *clips[0].masks[1:]))
    batch = batch_of(clip)
    reading = planned(model, batch)
    a_SNRK = torch.softmax(torch.randn(2, 1, 6, 128, generator=torch.Generator().manual_seed(3)), -1)
    total, count = mask_loss(reading, a_SNRK, PAPER)
    others, rest = mask_loss(planned(model, batch_of(replace(clips[0], masks=({}, *clip.masks[1:])))), a_SNRK, PAPER)
    map_HW = a_SNRK.mean(0)[0, 0, :64].reshape(1, 1, 8, 8)
    up_HW = torch.nn.functional.interpolate(map_HW, (128, 128), mode="bilinear", align_corners=False)[0, 0]
    wanted = torch.nn.functional.binary_cross_entropy(up_HW, torch.from_numpy(encodings.decode(track[0])).float())
    assert count == rest + 1
    torch.testing.assert_close(total - others, wanted, rtol=1e-4, atol=0)


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
    assert planned(model, batch).probe.rows_NR.tolist() == [[row[-1] for row in rows]]
    assert losses(model, batch).mask_count == 6
    swapped = losses(model, batch_of(replace(clip, masks=(clip.masks[1], clip.masks[0], clip.masks[2]))))
    assert abs(swapped.mask_sum - losses(model, batch).mask_sum) > 1e-6


def test_a_noun_said_before_untagged_is_not_taken_for_the_tagged_one(clips, tokenizer, family):
    encoder = Encoder(tokenizer, family, system="You know what a lemon is.")
    clip = asking(clips[0], ("A lemon is left of the <ins>lemon</ins>, lemon.", "It is a lemon."), tracks=(0,))
    sample = encoder(clip)
    (noun,) = sample.nouns
    said = [i for i, token in enumerate(sample.input_ids_L.tolist()) if tokenizer.decode([token]) == " lemon"]
    assert len(said) == 5
    assert noun.tokens == (said[2],)


def test_query_rows_of_a_noun_of_several_tokens(model, clips, batch_of, tokenizer):
    clip = asking(clips[0], ("Describe the <ins>brown dog</ins> now.", "A <ins>zebra</ins>."), tracks=(0, 2))
    batch = batch_of(clip)
    (sample,) = batch.samples
    for noun, text in zip(sample.nouns, ("brown dog", "zebra"), strict=True):
        first, *_, last = noun.tokens
        assert last - first > 1
        assert tokenizer.decode(sample.input_ids_L[first : last + 1]).strip() == text
    one, two = (noun.tokens for noun in sample.nouns)
    rows = {
        "noun": [one[-1], two[-1]],
        "noun-first": [one[0], two[0]],
        "noun-mean": [*one, *two],
        "before": [one[0] - 1, two[0] - 1],
        "each-before": [token - 1 for token in (*one, *two)],
        "noun-and-answer": [one[-1], two[-1]],
    }
    # Here the turn names two objects, and its answer is nobody's.
    of_answers = {"answer", "answer-before", "answer-last"}
    assert all(planned(model, batch, query=query) is None for query in of_answers)
    assert rows.keys() | of_answers == set(registry.names("swim.supervision.query"))
    for query, wanted in rows.items():
        reading = planned(model, batch, query=query)
        assert reading.probe.rows_NR.tolist() == [wanted]
        assert len(reading.reads) == (len(wanted) if query == "each-before" else 2)


CHOICES = [registry.names(f"swim.supervision.{kind}") for kind in ("fusion", "normalise", "losses")]


@pytest.mark.parametrize(("fusion", "normalise", "loss"), list(product(*CHOICES)))
def test_every_combination_is_finite_and_has_a_gradient(model, clips, batch_of, fusion, normalise, loss):
    """Attention near uniform, as at the start of training."""
    reading = planned(model, batch_of(*uneven(clips)))
    score_SNRK = 0.3 * torch.randn(2, 3, 6, 128, generator=torch.Generator().manual_seed(1))
    for resize in ("map-to-mask", "mask-to-grid"):
        a_SNRK = torch.softmax(score_SNRK, -1).requires_grad_()
        objective = Objective(layers=LAYERS, fusion=fusion, normalise=normalise, mask_loss=loss, resize=resize)
        total, count = mask_loss(reading, a_SNRK, objective)
        total.backward()
        assert count == 22
        assert total.isfinite()
        assert a_SNRK.grad.isfinite().all()
        assert a_SNRK.grad.abs().max() > 0


@pytest.mark.parametrize("query", registry.names("swim.supervision.query"))
@pytest.mark.parametrize("domain", registry.names("swim.supervision.domain"))
def test_every_query_and_domain_trains_the_attention(model, clips, batch_of, query, domain):
    batch = batch_of(clips[0])
    objective = PAPER.model_copy(update={"query": query, "domain": domain})
    SupervisedModel(model, objective)(batch.inputs, batch.labels_BL, batch.nouns).mask.backward()
    for layer in LAYERS:
        attention = model.get_decoder().layers[layer].self_attn
        assert 0 < attention.q_proj.weight.grad.norm() < torch.inf
        assert 0 < attention.k_proj.weight.grad.norm() < torch.inf
    assert all(p.grad is None for p in model.model.visual.parameters())


def test_the_paper_preset_is_the_default_objective(nano):
    assert nano.override(PRESETS["paper"]) == nano
