"""Features of a frozen vision tower, computed apart from the model, change no bit of what is trained or measured."""

from copy import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tiny_families import FAMILIES

from swim import models
from swim.data.encode import collate
from swim.evaluation.evaluate import evaluate
from swim.models import tiny
from swim.models.vision_features import frames_digest, frozen_tower
from swim.supervision.forward import last_hidden
from swim.supervision.objective import stock
from swim.train import Host, autocast, train, use_features


def tower_of(model, recipe):
    return frozen_tower(stock(model), partial(autocast, recipe, torch.device("cpu")))


def kept(clips):
    """A `Host.features` that knows these clips."""

    def source(tower):
        known = {frames_digest(clip.frames_THWC): tower(clip.frames_THWC) for clip in clips}
        return lambda frames_THWC: known.get(frames_digest(frames_THWC))

    return source


def test_short_clips_among_long_ones_have_the_bits_they_have_alone(nano, clips, encoder):
    rng = np.random.default_rng(0)
    model, tokenizer = models.build(nano.model)
    sizes = [(4, 64, 64), (2, 8, 8), (8, 40, 24), (2, 16, 24), (2, 8, 8)]
    mixed = [
        replace(
            clips[i],
            frames_THWC=rng.integers(0, 256, (*size, 3), dtype=np.uint8),
            frame_indices=tuple(range(size[0])),
            masks=(),
        )
        for i, size in enumerate(sizes)
    ]
    plain, given = copy(encoder), copy(encoder)
    use_features(nano, model, torch.device("cpu"), kept(mixed), given)
    for group in (mixed, mixed[1:4], mixed[3:]):
        inputs, with_features = (
            collate([encode(clip) for clip in group], tokenizer.pad_token_id).inputs for encode in (plain, given)
        )
        assert "pixel_values_videos" in inputs
        assert "pixel_values_videos" not in with_features
        with torch.no_grad():
            assert torch.equal(last_hidden(model, inputs, None), last_hidden(model, with_features, None))


@pytest.mark.parametrize(("known", "options"), [(slice(None), {}), (slice(4), {"micro_tokens": 700})])
def test_twelve_losses_and_all_scores_are_equal_with_features_and_without(nano, clips, known, options):
    nano = nano.override({"optim.steps": 12})
    trained = train(nano, clips, host=Host(features=kept(clips[known]), **options))
    plain = train(nano, clips, host=Host(**options))
    assert trained.curve == plain.curve
    assert sum(point.name == "loss" for point in plain.curve) == 12
    results = [evaluate(nano, run, clips, micro_batch=5) for run in (trained, plain)]
    assert results[0] == results[1]


def test_a_tower_whose_features_are_known_does_not_run(nano, clips, monkeypatch):
    known = kept(clips)
    model, tokenizer = models.build(nano.model)
    calls = []
    model.model.visual.blocks[0].register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(models, "build", lambda *_: (model, tokenizer))
    train(nano, clips, host=Host(features=known))
    assert len(calls) == len(clips)  # each once, when it was made known
    train(nano, clips)
    assert len(calls) == len(clips) + nano.optim.steps * nano.optim.batch


def test_features_follow_the_frames_and_not_the_key(nano, clips, encoder):
    model, _ = models.build(nano.model)
    encoder = copy(encoder)
    use_features(nano, model, torch.device("cpu"), kept(clips[:1]), encoder)
    assert encoder(clips[0]).features_KD is not None
    darker = replace(clips[0], frames_THWC=clips[0].frames_THWC // 2)
    assert encoder(darker).features_KD is None
    assert encoder(replace(clips[0], key="another")).features_KD is not None
    assert encoder(replace(clips[0], frames_THWC=clips[0].frames_THWC.reshape(2, 128, 64, 3))).features_KD is None


def test_the_digest_is_of_weights_and_shape(nano, tmp_path):
    model, tokenizer = models.build(nano.model)
    digest = tower_of(model, nano).digest
    models.save(model, tokenizer, tmp_path / "saved")
    assert tower_of(models.build(nano.model, tmp_path / "saved")[0], nano).digest == digest
    assert tower_of(models.build(nano.model.model_copy(update={"seed": 1}))[0], nano).digest != digest
    model.model.visual.merger.mlp[-1].bias[0] += 1e-6
    changed = tower_of(model, nano).digest
    assert changed != digest
    model.model.visual.config._attn_implementation = "eager"
    assert tower_of(model, nano).digest not in (digest, changed)


def test_a_trained_tower_and_one_of_more_than_a_vector_a_token_have_no_features(nano):
    model, _ = tiny.build(nano.model)
    assert tower_of(model, nano) is None  # nothing is frozen yet
    model.model.visual.requires_grad_(False)
    assert tower_of(model, nano) is not None
    for name, family in FAMILIES.items():
        other = family.model().requires_grad_(False)
        assert (tower_of(other, nano) is None) == (name not in ("qwen2_vl", "qwen2_5_vl"))
