"""Training gives the same bits twice, leaves no trace, moves what it should, and stops when a number is none."""

import json
import pickle
import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from swim import models
from swim.checkpoint import Checkpoint
from swim.deterministic import deterministic
from swim.evaluation.evaluate import evaluate
from swim.recipe import HubModel, Lora, Objective, Optim
from swim.supervision.objective import SupervisedModel
from swim.train import Host, batch_plan, learning_rate, train


def curve(trained, name):
    return [point.value for point in trained.curve if point.name == name]


def uneven(clips):
    return [
        replace(clip, turns=clip.turns[: 1 + i % 3], masks=clip.masks[: 2 + 2 * (i % 3)])
        for i, clip in enumerate(clips)
    ]


def test_reruns_are_bit_equal_whatever_ran_before(nano, clips):
    first = train(nano, clips)
    torch.manual_seed(99)
    np.random.seed(99)
    train(nano.override({"seed": 5, "objective.mask_weight": 0}), clips)
    again = train(nano, clips)
    assert again.curve == first.curve
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name
    other = train(nano.override({"seed": 1}), clips)
    assert other.curve != first.curve


def test_micro_batches_change_nothing_but_rounding(nano, clips):
    whole = train(nano, uneven(clips))
    split = train(nano, uneven(clips), host=Host(micro_batch=2))
    lopsided = train(nano, uneven(clips), host=Host(micro_batch=3))
    for name in ("loss", "text_loss", "mask_loss"):
        assert curve(split, name) == pytest.approx(curve(whole, name), rel=1e-5)
        assert curve(lopsided, name) == pytest.approx(curve(whole, name), rel=1e-5)
    assert curve(split, "grad_norm")[0] == pytest.approx(curve(whole, "grad_norm")[0], rel=1e-5)


def test_the_curve_adds_up_and_is_told(nano, clips):
    told = []
    trained = train(nano, clips, host=Host(on_step=lambda step, values, now: told.append((step, values))))
    assert [step for step, _ in told] == [1, 2, 3]
    assert [values["loss"] for _, values in told] == curve(trained, "loss")
    total = np.add(0.05 * np.array(curve(trained, "text_loss")), curve(trained, "mask_loss"))
    assert curve(trained, "loss") == pytest.approx(total)
    assert not trained.model.training


def test_training_lowers_both_losses(nano, clips):
    longer = nano.override({"optim": Optim(steps=30, batch=6, lr=1e-2, warmup_steps=2), "objective.text_weight": 1.0})
    trained = train(longer, clips)
    assert curve(trained, "text_loss")[-1] < 0.5 * curve(trained, "text_loss")[0]
    assert curve(trained, "mask_loss")[-1] < 0.95 * curve(trained, "mask_loss")[0]


@pytest.mark.fault(
    injection="a loss becomes nan or inf",
    symptom="the trial goes on and is committed",
    expected="error names step and recipe",
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_no_number_stops_the_run(nano, clips):
    wild = Optim(steps=4, batch=4, lr=1e30, warmup_steps=0, clip_norm=1e30)
    with pytest.raises(FloatingPointError, match=r"is (nan|inf) at step [12] of 'nano'"):
        train(nano.override({"optim": wild}), clips)


def test_no_clips_is_an_error(nano):
    with pytest.raises(ValueError, match="no clips"):
        train(nano, [])


def test_batch_plan_is_whole_permutations_from_the_seed_alone():
    optim = Optim(steps=10, batch=4)
    plan = batch_plan(7, optim, seed=3)
    assert plan.shape == (10, 4)
    for epoch in plan.ravel()[:35].reshape(5, 7):
        assert sorted(epoch) == list(range(7))
    np.testing.assert_array_equal(plan, batch_plan(7, optim, seed=3))
    np.testing.assert_array_equal(plan[:4], batch_plan(7, Optim(steps=4, batch=4), seed=3))
    assert (plan != batch_plan(7, optim, seed=4)).any()
    assert (plan.ravel()[:7] != plan.ravel()[7:14]).any()


def test_learning_rate_warms_up_and_decays_as_a_cosine():
    optim = Optim(steps=120, lr=1.0, warmup_steps=20, final_lr_fraction=0.05)
    rates = [learning_rate(step, optim) for step in range(120)]
    assert rates[:20] == pytest.approx([(i + 1) / 20 for i in range(20)])
    assert rates[20] == 1.0
    assert rates[70] == pytest.approx((1 + 0.05) / 2)
    assert all(a > b for a, b in pairwise(rates[20:]))
    assert 0.05 < rates[-1] < 0.051
    assert learning_rate(0, Optim(steps=1, lr=1.0, warmup_steps=0)) == 1.0


def state():
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.is_grad_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.mark.parametrize("fails", [False, True])
def test_deterministic_fixes_everything_and_restores_it(fails):
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.no_grad():
            before = state()
            draws = []
            for _ in range(2):
                try:
                    with deterministic(7):
                        assert state()[3:] == (torch.float32, 1, True, torch.cuda.is_available(), True, False)
                        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
                        torch.set_default_dtype(torch.float16)
                        torch.set_grad_enabled(False)
                        torch.use_deterministic_algorithms(False)
                        if fails:
                            raise KeyError
                except KeyError:
                    assert fails
                assert state() == before
            assert draws[0] == draws[1]
    finally:
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float32)
        torch.use_deterministic_algorithms(False)


def test_vision_stays_frozen_and_the_mask_loss_moves_queries_and_keys(nano, clips, batch_of):
    model, _ = models.build(nano.model)
    batch = batch_of(*clips[:2])
    SupervisedModel(model, nano.objective)(batch.inputs, batch.labels_BL, batch.nouns).mask.backward()
    for number, layer in enumerate(model.get_decoder().layers):
        for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            assert projection.weight.grad is not None, number
            assert projection.weight.grad.norm() > 0
    assert all(p.grad is None and not p.requires_grad for p in model.model.visual.parameters())

    trained = train(nano, clips).model
    fresh, _ = models.build(nano.model)
    for name, weight in fresh.state_dict().items():
        assert torch.equal(weight, trained.state_dict()[name]) == ("visual" in name), name


@pytest.fixture
def hub(nano, tmp_path):
    """The nano model as a checkpoint on disk, and a recipe that loads it the way a 7B one would be."""
    model, tokenizer = models.build(nano.model)
    models.save(model, tokenizer, tmp_path / "base")
    spec = HubModel(path=str(tmp_path / "base"), dtype="float32", layers=3, cell_px=8)
    return nano.override({"model": spec, "objective": Objective(layers=(0, 2)), "optim.steps": 2})


class Opened:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.fault(
    injection="a checkpoint holds pickled weights that run code",
    symptom="code runs on loading",
    expected="error says to convert them where you trust them",
)
@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00001.bin"])
def test_pickled_weights_are_refused_with_advice(name, hub, tmp_path):
    folder = tmp_path / "base"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps({"lm_head.weight": Opened(tmp_path / "ran")}))
    if name != "pytorch_model.bin":
        index = {"metadata": {}, "weight_map": {"lm_head.weight": name}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for build in (lambda: models.build(hub.model), lambda: models.build(hub.model, folder)):
        with pytest.raises(OSError, match=r"base holds no weights as safetensors .*convert them where you trust"):
            build()
    assert not (tmp_path / "ran").exists()


def stock_logits(folder, batch):
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, use_safetensors=True).eval()
    with torch.no_grad():
        return model(**batch.inputs, use_cache=False).logits


def test_a_saved_checkpoint_is_a_plain_one(nano, clips, batch_of, tmp_path):
    trained = train(nano, clips)
    models.save(trained.model, trained.tokenizer, tmp_path / "mine")
    batch = batch_of(*clips[:2])
    with torch.no_grad():
        logits = trained.model(**batch.inputs, use_cache=False).logits
    assert torch.equal(stock_logits(tmp_path / "mine", batch), logits)
    text = "Describe the lemon. Zebra, naïve <|im_end|>\n"
    assert AutoTokenizer.from_pretrained(tmp_path / "mine")(text)["input_ids"] == trained.tokenizer(text)["input_ids"]
    assert "swim_" not in (tmp_path / "mine" / "config.json").read_text()
    # Saving in the middle of an evaluation must not take the probe off.
    assert trained.model.get_decoder().config._attn_implementation == "swim_sdpa"

    going_on, straight = (train(nano, clips, init_dir=folder) for folder in (tmp_path / "mine", None))
    assert curve(going_on, "loss")[0] != curve(straight, "loss")[0]
    assert curve(going_on, "loss")[0] < curve(straight, "loss")[0] + 1e-3


def test_adapters_get_the_attention_gradient_and_merge_on_saving(hub, clips, batch_of, tmp_path):
    # up_proj: the vision tower has one as well, and must not be adapted.
    lora = Lora(rank=2, alpha=4, targets=("q_proj", "k_proj", "up_proj"))
    recipe = hub.override({"model.lora": lora, "objective.text_weight": 0, "optim.lr": 1e-2})
    model, _ = models.build(recipe.model)
    model.train()
    batch = batch_of(*clips[:2])
    SupervisedModel(model, recipe.objective)(batch.inputs, batch.labels_BL, batch.nouns).mask.backward()
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trainable
    assert all("lora_" in name and "visual" not in name for name in trainable)
    for projection in ("q_proj", "k_proj"):
        # lora_A has no gradient yet: it is multiplied by lora_B, which starts at zero.
        found = [p.grad.norm() for name, p in trainable.items() if f"{projection}.lora_B" in name]
        assert len(found) == 3
        assert all(norm > 0 for norm in found)

    trained = train(recipe, clips)
    batch = batch_of(*clips[:2])
    with torch.no_grad():
        logits = trained.model(**batch.inputs, use_cache=False).logits
    models.save(trained.model, trained.tokenizer, tmp_path / "merged")
    merged = stock_logits(tmp_path / "merged", batch)
    torch.testing.assert_close(merged, logits, atol=1e-5, rtol=1e-5)
    assert (merged - stock_logits(tmp_path / "base", batch)).abs().max() > 1e-4


def test_checkpointing_of_a_hub_model_changes_nothing(hub, clips, tmp_path):
    for init_dir in (None, tmp_path / "base"):
        kept, recomputed = (
            train(hub.override({"model.gradient_checkpointing": on}), clips, init_dir=init_dir) for on in (False, True)
        )
        assert curve(recomputed, "loss") == pytest.approx(curve(kept, "loss"), rel=1e-6)
        assert recomputed.model.is_gradient_checkpointing
        assert not kept.model.is_gradient_checkpointing


def test_small_steps_are_not_lost_to_bf16(hub, clips):
    recipe = hub.override({"model.dtype": "bfloat16", "optim.lr": 2e-5, "optim.warmup_steps": 0})
    before, _ = models.build(recipe.model)
    trained = train(recipe, clips)
    rounded = train(recipe.override({"model.weights": "bfloat16"}), clips)
    assert curve(rounded, "loss") == pytest.approx(curve(trained, "loss"), rel=1e-2)
    assert {p.dtype for p in rounded.model.parameters()} == {torch.bfloat16}
    assert np.isfinite(list(evaluate(recipe, rounded, clips[:2]).metrics.values())).all()
    weight = trained.model.get_decoder().layers[0].self_attn.q_proj.weight
    moved = weight != before.get_decoder().layers[0].self_attn.q_proj.weight
    assert moved.float().mean() > 0.9
    assert trained.model.model.visual.patch_embed.proj.weight.dtype == torch.bfloat16
    assert np.isfinite(list(evaluate(recipe, trained, clips[:2]).metrics.values())).all()


def test_layers_that_the_checkpoint_does_not_have(hub):
    with pytest.raises(ValueError, match=r"model\.layers says 28"):
        models.build(hub.model.model_copy(update={"layers": 28}))


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("kind", ["whole", "adapted", "bf16 weights"])
def test_a_stopped_run_that_goes_on_ends_with_the_same_bytes(nano, clips, tmp_path, kind):
    recipe = nano.override({"optim": Optim(steps=6, batch=4, warmup_steps=2)})
    if kind != "whole":
        models.save(*models.build(nano.model), tmp_path / "base")
        spec = HubModel(path=str(tmp_path / "base"), layers=3, cell_px=8)
        changes = {"lora": Lora(rank=2, alpha=4)} if kind == "adapted" else {"weights": "bfloat16"}
        spec = spec.model_copy(update=changes)
        recipe = recipe.override({"model": spec})
    uninterrupted = train(recipe, clips)

    def stop(step, values, now):
        if step == 4:
            now.checkpoint().save(tmp_path / "step")
            raise StoppedError

    with pytest.raises(StoppedError):
        train(recipe, clips, host=Host(on_step=stop))
    torch.manual_seed(99)
    steps = []
    host = Host(resume=Checkpoint.load(tmp_path / "step"), on_step=lambda step, values, now: steps.append(step))
    resumed = train(recipe, clips, host=host)
    assert steps == [5, 6]
    assert resumed.curve == uninterrupted.curve
    ours, theirs = resumed.model.state_dict(), uninterrupted.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.fault(
    injection="a trial resumes from the checkpoint of another model",
    symptom="weights are half loaded",
    expected="error says that it is of another model",
)
def test_a_checkpoint_of_another_model_is_refused(nano, clips, tmp_path):
    train(nano, clips, host=Host(on_step=lambda step, values, now: now.checkpoint().save(tmp_path)))
    other = nano.override({"model.layers": 2, "objective.layers": (1,), "evaluation.attention.readout.layers": (1,)})
    with pytest.raises(ValueError, match="checkpoint is of another model"):
        train(other, clips, host=Host(resume=Checkpoint.load(tmp_path)))


def test_looking_at_a_run_changes_nothing(nano, clips):
    alone = train(nano, clips)
    seen = []

    def look(now):
        with now.trained() as trained:
            torch.rand(3)
            seen.append(evaluate(nano, trained, clips).metrics["attention.ap"])

    watched = train(nano, clips, host=Host(on_start=look, on_step=lambda step, values, now: look(now)))
    assert watched.curve == alone.curve
    assert len(set(seen)) == nano.optim.steps + 1
    assert seen[-1] == evaluate(nano, alone, clips).metrics["attention.ap"]


def test_no_steps_leave_the_weights_as_they_were(nano, clips, tmp_path):
    base = train(nano, clips)
    models.save(base.model, base.tokenizer, tmp_path)
    same = train(nano.override({"optim.steps": 0}), clips, init_dir=tmp_path)
    assert same.curve == []
    assert evaluate(nano, same, clips).scores == evaluate(nano, base, clips).scores
