"""A frozen vision tower is never in the autograd graph: its blocks run once a step, and the text tower's gradients are
those of a step that differentiates it."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_families import FAMILIES, build, collate, samples
from transformers.modeling_layers import GradientCheckpointingLayer

from swim import models
from swim.recipe import HubModel, Lora, Objective
from swim.supervision import attention
from swim.supervision.frozen_tower import ONE_VECTOR_A_TOKEN, vision_tower
from swim.supervision.objective import SupervisedModel
from swim.supervision.objective import stock as unwrapped

NON_REENTRANT = {"use_reentrant": False}


def watch(model):
    """Calls of the tower's first block, and whether each output of the tower, deep ones included, requires a gradient.

    Counted at the block's first part: transformers recomputes a block's `forward`, which runs no hooks of the block."""
    tower, calls, differentiable = vision_tower(model), [], []
    first = next(module for module in tower.modules() if isinstance(module, GradientCheckpointingLayer))
    next(first.children()).register_forward_pre_hook(lambda *_: calls.append(1))

    def look(_, args, output):
        features = [output.last_hidden_state, *(getattr(output, "deepstack_features", None) or ())]
        features += [output.pooler_output] if output.pooler_output is not None else []
        differentiable.extend(feature.requires_grad for feature in features)

    tower.register_forward_hook(look)
    return calls, differentiable


def step(name, adapters):
    """One step of a model with a frozen tower under checkpointing: (calls, differentiable, gradients)."""
    model, family = build(name).train(), FAMILIES[name]
    vision_tower(model).requires_grad_(False)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=NON_REENTRANT)
    calls, differentiable = watch(model)
    if adapters:
        torch.manual_seed(0)
        targets = r".*(language_model|text_model)\..*\.(q_proj|k_proj)"
        model = get_peft_model(model, LoraConfig(r=2, target_modules=targets))
    supervised = SupervisedModel(model, Objective(layers=(0, 2)))
    # Trainers enable it again after the probe is attached. transformers 5.23 forgets Qwen3-VL's tower; PEFT may not.
    model.enable_input_require_grads()
    tower = vision_tower(unwrapped(model))
    embedding = getattr(tower, "patch_embed", None) or tower.get_input_embeddings()
    embedding.register_forward_hook(lambda _, args, output: output.requires_grad_(True))
    supervised.total(supervised(*collate(family, samples(family)))).backward()
    gradients = {path: p.grad for path, p in supervised.named_parameters() if p.grad is not None}
    return calls, differentiable, gradients


@pytest.mark.parametrize("adapters", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_frozen_tower_runs_once_and_changes_no_gradient(name, adapters, monkeypatch):
    calls, differentiable, gradients = step(name, adapters)
    # On a CPU some towers compute one video after another.
    videos = sum(sample.video is not None for sample in samples(FAMILIES[name]))
    runs = videos if name in ONE_VECTOR_A_TOKEN else 1
    assert len(calls) == runs
    assert differentiable
    assert not any(differentiable)
    assert any("k_proj" in path and gradient.norm() > 0 for path, gradient in gradients.items())
    monkeypatch.setattr(attention, "keep_out_of_graph", lambda model: None)
    calls, differentiable, wanted = step(name, adapters)
    assert any(differentiable)
    assert len(calls) == 2 * runs
    assert gradients.keys() == wanted.keys()
    assert [path for path, gradient in gradients.items() if not torch.equal(gradient, wanted[path])] == []


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4)], ids=["full", "lora"])
def test_a_hub_models_tower_runs_once(stock, clips, batch_of, tokenizer, tmp_path, lora):
    models.save(stock, tokenizer, tmp_path)
    model, _ = models.build(HubModel(path=str(tmp_path), dtype="float32", layers=3, cell_px=8, lora=lora))
    calls, differentiable = watch(unwrapped(model))
    supervised, batch = SupervisedModel(model.train(), Objective(layers=(0, 2))), batch_of(clips[0])
    supervised(batch.inputs, batch.labels_BL, batch.nouns).mask.backward()
    assert (len(calls), any(differentiable)) == (1, False)


def test_a_tower_released_after_the_probe_is_attached_is_trained(model, clips, batch_of):
    supervised, batch = SupervisedModel(model.train(), Objective(layers=(0, 2))), batch_of(clips[0])
    visual = model.model.visual
    for trained in (False, True, False):
        model.zero_grad()
        visual.requires_grad_(trained)
        supervised(batch.inputs, batch.labels_BL, batch.nouns).text.backward()
        assert all((p.grad is not None and bool(p.grad.any())) == trained for p in visual.merger.mlp.parameters())


def test_gradients_are_back_on_after_a_tower_that_failed_and_in_a_copy(model, clips, batch_of):
    batch = batch_of(clips[0])
    for each in (copy.deepcopy(model), model):
        with pytest.raises(RuntimeError):
            each(**batch.inputs | {"pixel_values_videos": torch.zeros(3, 5)})
        assert torch.is_grad_enabled()
        each(**batch.inputs)
        assert torch.is_grad_enabled()
    with torch.no_grad():
        model(**batch.inputs)
        assert not torch.is_grad_enabled()
