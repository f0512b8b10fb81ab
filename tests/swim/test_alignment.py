"""The suite `alignment`: the release's convention against an oracle on raw queries and keys, ours against the suite
`attention`, and chance."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenes import rle
from test_released_map import literal

from swim import models
from swim.data.annotations.markup import strip_tags
from swim.data.masks.encodings import decode
from swim.evaluation import map_scores
from swim.evaluation.evaluate import run_suite
from swim.train import Trained, encoder_for

RELEASED_LAYER = 2  # of three: the depth of layer 23 of 28


@pytest.fixture
def trained(nano, model, tokenizer):
    return Trained(model, tokenizer, encoder_for(nano, model, tokenizer), [])


def suite(nano, trained, shown, **config):
    recipe = nano.override({"evaluation": {"alignment": {"readout": {"layers": (0, 2)}, **config}, "attention": {}}})
    return run_suite("alignment", recipe, trained, shown)


def oracle(recorded, encoder, batch_of, clip):
    """Each frame of a one-turn clip as an image: softmax over all tokens without a causal mask, mean over heads, the
    row before every token of the text that is one of the noun's."""
    model, seen = recorded
    scores = []
    noun = " " + strip_tags(clip.turns[0].human)[1][0].text
    noun_ids = encoder.tokenizer(noun, add_special_tokens=False)["input_ids"]
    for slot, mask in clip.masks[0].items():
        image = replace(clip, frames_THWC=clip.frames_THWC[[slot] * 2], frame_indices=(slot,) * 2, masks=())
        batch = batch_of(image)
        model(**batch.inputs, use_cache=False)
        ids_L = batch.inputs["input_ids"][0]
        columns = (ids_L == model.config.video_token_id).nonzero()[:, 0]
        query_HLD, key_GLD = (of_rows[0] for of_rows in seen[RELEASED_LAYER])
        key_HLD = key_GLD.repeat_interleave(len(query_HLD) // len(key_GLD), 0)
        a_LL = torch.einsum("hqd,hkd->hqk", query_HLD, key_HLD).div(key_HLD.shape[-1] ** 0.5).softmax(-1).mean(0)
        for position in range(int(columns[-1]) + 1, len(ids_L)):
            if int(ids_L[position]) in noun_ids:
                map_hw = a_LL[position - 1, columns].reshape(8, 8).numpy()
                scores.append(literal(map_hw, decode(mask).astype(bool), 1))
    return {name: np.mean([row[name] for row in scores]) for name in scores[0]}, len(scores)


@torch.no_grad()
def test_release_is_what_the_oracle_computes(nano, recorded, tokenizer, encoder, batch_of, clips):
    # The word stands once more in the answer, without a tag: the script counts it too.
    noun = strip_tags(clips[0].turns[0].human)[1][0].text
    turn = clips[0].turns[0].model_copy(update={"gpt": f"{clips[0].turns[0].gpt} The {noun}.", "slots": ()})
    clip = replace(clips[0], turns=(turn,), masks=clips[0].masks[:2])
    wanted, readings = oracle(recorded, encoder, batch_of, clip)
    assert readings == 3 * len(clip.masks[0])
    stock = recorded[0]
    stock.get_decoder().config._attn_implementation = "sdpa"
    models.attach(stock)
    trained = Trained(stock, tokenizer, encoder_for(nano, stock, tokenizer), [])
    result = suite(nano, trained, [clip], conventions=("release",))
    for name in ("ap", "auc", "nss", "precision_50", "precision_75"):
        assert result.metrics[f"alignment.release.{name}"] == pytest.approx(wanted[name], abs=1e-5)


def test_by_video_the_noun_scores_what_the_suite_attention_says(nano, trained, clips):
    ours = suite(nano, trained, clips[:3], conventions=("video",)).metrics
    for query in ("noun", "before"):
        recipe = nano.override({"evaluation.attention": {"readout": {"layers": (0, 2), "query": query}}})
        theirs = run_suite("attention", recipe, trained, clips[:3]).metrics
        for name in ("ap", "auc", "nss", "mass", "entropy", "pointing", "gamepoint_5pct", "gamepoint_top10"):
            assert ours[f"alignment.video.{query}.fused.{name}"] == pytest.approx(theirs[f"attention.{name}"], abs=1e-6)
        assert ours[f"alignment.video.{query}.fused.precision_50"] == pytest.approx(theirs["attention.precision"])
        assert ours["alignment.nouns"] == theirs["attention.nouns"]


def test_each_layer_is_what_a_readout_of_that_layer_alone_fuses(nano, trained, clips):
    chosen = {"conventions": ("video", "frame"), "queries": ("noun",)}
    layers = suite(nano, trained, clips[:3], per_layer=True, **chosen).metrics
    assert "alignment.video.noun.layer_01.ap" not in layers
    alone = suite(nano, trained, clips[:3], readout={"layers": (2,)}, **chosen).metrics
    for convention in ("video", "frame"):
        of_layer = {n.replace("layer_02", "fused"): v for n, v in layers.items() if f"{convention}.noun.layer_02" in n}
        assert of_layer
        assert of_layer == pytest.approx({name: alone[name] for name in of_layer}, abs=1e-6)


def test_a_model_that_looks_everywhere_scores_chance(nano, trained, clips):
    """Queries of zero: every token gets the same attention, in any domain."""
    for layer in trained.model.get_decoder().layers:
        torch.nn.init.zeros_(layer.self_attn.q_proj.weight)
        torch.nn.init.zeros_(layer.self_attn.q_proj.bias)
    result = suite(nano, trained, clips[:3])
    for row in result.scores:
        name = row.metric.rpartition(".")[2]
        if name == "auc":
            assert row.value == 0.5
        if name == "nss":
            assert row.value == 0
        if name == "entropy":
            patches = np.exp(row.value) / 64
            assert patches == pytest.approx(round(patches))
    for prefix in ("video.noun.fused", "frame.before.fused", "release"):
        chance = result.metrics[f"alignment.{prefix}.gamepoint_top1"]
        assert 0 < chance < 0.5
        for name in ("ap", "gamepoint_10pct", "gamepoint_top100"):
            assert result.metrics[f"alignment.{prefix}.{name}"] == pytest.approx(chance)


def test_others_are_the_clips_other_objects(nano, trained, clips):
    """The whole rest of each frame as the mask of a second object: the two shares add up to all."""
    clip = replace(clips[0], turns=clips[0].turns[:2], masks=clips[0].masks[:4])
    rest = {slot: rle(1 - decode(mask)) for slot, mask in clip.masks[0].items()}
    clip = replace(clip, masks=(*clip.masks[:2], rest, rest))
    result = suite(nano, trained, [clip], conventions=("video", "frame"))
    by_metric = {row.metric: row.value for row in result.scores if row.turn == 0}
    for prefix in ("alignment.video.noun.fused", "alignment.frame.before.fused"):
        assert by_metric[f"{prefix}.mass"] + by_metric[f"{prefix}.mass_others"] == pytest.approx(1)
    alone = replace(clips[0], turns=clips[0].turns[:1], masks=clips[0].masks[:2])
    assert not any("mass_others" in row.metric for row in suite(nano, trained, [alone]).scores)


def test_frames_are_scored_one_by_one():
    """A map that is right in each frame, but ten times as strong in the first."""
    mask_PHW = np.zeros((2, 4, 4), dtype=bool)
    mask_PHW[0, 0], mask_PHW[1, 1] = True, True
    map_PHW = (mask_PHW + 0.2) * np.array([10.0, 1.0])[:, None, None]
    assert map_scores.by_frame(map_PHW, mask_PHW)["ap"] == 1
    assert map_scores.by_video(map_PHW, mask_PHW)["ap"] < 1
    empty = np.zeros_like(mask_PHW[:1])
    assert map_scores.by_frame(np.append(map_PHW, map_PHW[:1], 0), np.append(mask_PHW, empty, 0))["ap"] == 1
    assert map_scores.by_video(map_PHW[:1], empty) == {}


def test_a_fixed_set_of_clips_and_what_is_refused(nano, trained, clips):
    chosen = suite(nano, trained, clips, clips=1, conventions=("release",))
    assert {row.key for row in chosen.scores} == {clip.key for clip in clips[:1]}
    with pytest.raises(ValueError, match="name at least one"):
        suite(nano, trained, clips, queries=())
    with pytest.raises(ValueError, match="outside the model"):
        suite(nano, trained, clips, readout={"layers": (7,)})
