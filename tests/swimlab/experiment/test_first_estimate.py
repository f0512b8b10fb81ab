"""What `plan` says of a model that the store knows nothing of."""

import json
from pathlib import Path

import pytest
import torch
from tiny_families import FAMILIES

from swim import recipes
from swim.recipe import HubModel, Lora
from swimlab.experiment import first_estimate, machine_probe
from swimlab.experiment.cost_forecast import FIRST
from swimlab.experiment.first_estimate import work
from swimlab.experiment.model_shape import Shape, shape_of


def test_the_work_of_the_tiny_recipe_counts_what_its_model_does() -> None:
    recipe = recipes.tiny_hard_look()
    shape = shape_of(recipe.model)
    assert shape is not None
    # The text tower has 639,488 weights, of which 47,488 are the vocabulary, and 590,000 stand in its four layers.
    assert shape.layers * shape.layer_weights == 589_824
    assert shape.weights == pytest.approx(875_200, rel=0.1)
    needs = work(recipe)
    assert needs is not None
    twice = work(recipe.override({"optim.steps": 240}))
    assert twice is not None
    assert twice.train_flops == 2 * needs.train_flops
    assert twice.eval_flops == needs.eval_flops > 0
    # 2 · 589,824 · 203 tokens · 16 conversations in three passes, 203² scores of 4 × 4 heads, and the vision tower.
    bare = (3 * 2 * 589_824 * 203 + first_estimate.FLOPS_A_SCORE * 16 * 203**2) * 16 * 120
    assert bare < needs.train_flops < 1.5 * bare


def test_hub_models_are_known_by_name_or_by_their_folder(tmp_path: Path) -> None:
    recipe = recipes.qwen2_5_vl_7b().override({"optim.steps": 7344})
    shape = shape_of(recipe.model)
    assert shape is not None
    assert shape.weights == pytest.approx(8.3e9, rel=0.03)  # as the model card says
    assert shape_of(HubModel(path="somebody/else")) is None
    assert work(recipe.override({"model.path": "somebody/else"})) is None
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    text = dict(zip(names, (8, 2, 2, 1, 16), strict=True)) | {"vocab_size": 5}
    vision = {"hidden_size": 4, "depth": 1, "intermediate_size": 6}
    for config in (text | {"vision_config": vision}, {"text_config": text, "vision_config": vision}):
        (tmp_path / "config.json").write_text(json.dumps(config))
        found = shape_of(HubModel(path=str(tmp_path)))
        assert found == Shape(8, 2, 2, 1, 16, 5, 4, 1, 6)
    # Recomputed activations cost a forward pass, adapters spare the gradients of the weights.
    whole, plain = work(recipe), work(recipe.override({"model.gradient_checkpointing": False}))
    lora = work(recipe.override({"model.lora": Lora()}))
    assert whole is not None
    assert plain is not None
    assert lora is not None
    assert whole.train_flops > plain.train_flops == lora.train_flops
    assert "a GPU is far faster, and unprobed" in first_estimate.reach(recipe)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_widths_of_every_family_are_read_from_its_config(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    model = family.model()
    model.config.save_pretrained(tmp_path)
    shape = shape_of(HubModel(path=str(tmp_path)))
    assert shape is not None
    counted = [*model.get_decoder().parameters(), *model.lm_head.parameters()]
    assert shape.text_weights == pytest.approx(sum(weight.numel() for weight in counted), rel=0.05)
    frames, height, width = family.videos[0]
    T, H, W = family.grid(torch.empty(frames, 3, height, width))
    assert shape.visual_tokens(frames, height, width, round(family.cell_px)) == T * H * W


def test_the_machine_is_probed_once_for_a_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = first_estimate.first_estimate(recipes.tiny(), tmp_path)
    assert found is not None
    assert (found.source, found.records) == (FIRST, 0)
    assert found.wall_s > 0
    monkeypatch.setattr(machine_probe.subprocess, "run", lambda *_, **__: pytest.fail("probed again"))
    machine_probe.flops_per_s.cache_clear()  # as in the next process
    assert first_estimate.first_estimate(recipes.tiny(), tmp_path) == found
    # Another seed, fusion or data set is the same shape; a wider model is not.
    assert first_estimate.first_estimate(recipes.tiny_hard_look(), tmp_path) is not None
    with pytest.raises(pytest.fail.Exception):
        first_estimate.first_estimate(recipes.tiny_deep(), tmp_path)
