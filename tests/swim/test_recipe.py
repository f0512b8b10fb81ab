"""A recipe that is misspelt or contradicts itself fails before anything runs, and says what was meant."""

import pytest
from pydantic import ValidationError

from swim import recipes
from swim.code_roots import code_roots, suite_roots
from swim.recipe import HubModel, Lora, Recipe, TinyModel, paths


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("objective.fusoin", "mean", "nearest is 'objective.fusion'"),
        ("optim.lrr", 1e-3, "nearest is 'optim.lr'"),
        ("steps", 3, "has no field 'steps'"),
        ("init.seed", 3, "has no field 'init.seed'"),
        ("objective.fusion", "meen", "did you mean 'mean'"),
        ("objective.fusion", "released_product", "did you mean 'released-product'"),
        ("objective.mask_loss", "focall", "did you mean 'focal'"),
        ("objective.normalise", "min-max", "did you mean 'minmax'"),
        ("evaluation.attention.readout.fusion", "meen", "did you mean 'mean'"),
        ("evaluation.attention.precision_threshold", 1.0, "less than 1"),
        ("objective.layers", (1, 4), r"objective: layers \[4\] are outside the model's 4 layers"),
        ("objective.chosen_heads", (1, 1), "numbers from 0, each once"),
        ("objective.layers", (-1,), r"\[-1\] are outside"),
        ("objective.mask_weight", -1, "greater than or equal to 0"),
        ("data.frames.cell_px", 28, "visual tokens are 8 px wide"),
        ("data.frames.max_frames", 5, "multiple of 2"),
        ("model.hidden", 64, "not the model of init 'tiny-base'"),
        ("model.seed", 1, "not the model of init 'tiny-base'"),
    ],
)
def test_what_is_wrong_is_named(path, value, message):
    with pytest.raises(ValueError, match=message):
        recipes.tiny().override({path: value})


def test_overrides_change_what_they_name_and_nothing_else():
    tiny = recipes.tiny()
    changed = tiny.override({"objective.fusion": "max", "optim.steps": 7})
    assert (changed.objective.fusion, changed.optim.steps) == ("max", 7)
    assert changed.override({"objective.fusion": "mean", "optim.steps": tiny.optim.steps}) == tiny
    assert tiny.override({}) == tiny
    assert {"objective.layers", "data.frames.max_frames", "init"} <= set(paths(tiny))


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_named_recipes_are_whole_and_survive_json(name, tmp_path):
    recipe = recipes.named(name)
    assert recipe.name == name
    file = tmp_path / "recipe.json"
    file.write_text(recipe.model_dump_json())
    assert recipes.named(str(file)) == recipe


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'tiny-hard-look'"):
        recipes.named("tiny-hardlook")


def test_recipes_are_frozen_and_closed():
    recipe = recipes.tiny()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        recipe.objective.fusion = "max"
    with pytest.raises(ValidationError, match="Extra inputs"):
        Recipe.model_validate(recipe.model_dump() | {"wokers": 2})
    assert hash(recipe) == hash(recipes.tiny())


def test_adapters_must_reach_the_attention():
    with pytest.raises(ValidationError, match=r"lacks \['k_proj'\]"):
        Lora(targets=("q_proj", "v_proj"))


def test_a_hub_recipe_may_add_adapters_to_the_weights_it_starts_from():
    base = recipes.qwen2_5_vl_7b()
    assert base.override({"init": base, "model.lora": Lora()}).init == base
    with pytest.raises(ValueError, match="not the model of init"):
        base.override({"init": base, "model.path": "another/model"})
    with pytest.raises(ValueError, match="not the model of init"):
        recipes.tiny().override({"init": base})
    assert HubModel().cell_px == 28
    assert TinyModel().cell_px == 8


def test_entry_modules_hold_what_is_selected_and_nothing_else():
    tiny = recipes.tiny().override({"objective.fusion": "released-product"})
    chosen = code_roots(tiny)
    assert "swim.supervision.fusion.released_product" in chosen
    assert "swim.supervision.losses.bce" in chosen
    assert "swim.supervision.losses.dice" not in chosen
    control = code_roots(tiny.override({"objective.mask_weight": 0}))
    assert set(chosen) - set(control) == {
        "swim.supervision.fusion.released_product",
        "swim.supervision.losses.bce",
        "swim.supervision.schedule.constant",
        *(f"swim.supervision.{entry}" for entry in ("query.noun", "domain.video", "heads.mean", "normalise.none")),
        "swim.supervision.target.object",
    }
    # The fixed read-out of the evaluation is not the arm's own.
    suite = suite_roots(tiny, "attention")
    assert "swim.supervision.fusion.mean" in suite
    assert suite == suite_roots(tiny.override({"objective.mask_weight": 0}), "attention")
    assert not any("evaluation" in root for root in chosen)
    assert "swim.data.synthetic.shapes_world" not in code_roots(recipes.tiny_files())
