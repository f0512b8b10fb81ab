"""Recipes as people write them: changes on a command line, and files that extend a recipe."""

import json
from pathlib import Path

import pytest

from swim import recipe_files, recipes
from swim.recipe import Lora, Recipe, ShapesWorld, Source

TINY = recipes.tiny()
OWN = recipes.qwen2_5_vl_7b()


def changed(recipe: Recipe, *assignments: str) -> Recipe:
    return recipe_files.change(recipe, recipe_files.changes(assignments, recipe))


def test_texts_become_the_types_of_the_fields() -> None:
    recipe = changed(
        TINY,
        "objective.fusion=max",
        "optim.lr=1e-5",
        "optim.betas=[0.9, 0.999]",
        "objective.layers=even:2",
        "init=null",
        "name=7",
        "evaluation.attention.overlays=3",
    )
    assert (recipe.objective.fusion, recipe.optim.lr, recipe.optim.betas) == ("max", 1e-5, (0.9, 0.999))
    assert (recipe.objective.layers, recipe.init, recipe.name) == ("even:2", None, "7")
    assert recipe.evaluation["attention"].model_dump()["overlays"] == 3
    own = changed(OWN, 'data.annotations=["a=b.json"]', "data.videos=2024", 'model.lora={"rank": 8}', "data.formats=[]")
    assert (own.data.annotations, own.data.videos, own.data.formats) == (("a=b.json",), "2024", ())
    assert own.model.lora == Lora(rank=8)
    mixed = changed(OWN, 'data.sources=[{"file": "nl_refer.json", "weight": 0.5, "loss": "text"}]')
    assert mixed.data.sources == (Source(file="nl_refer.json", weight=0.5, loss="text"),)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["objective.fusoin=max"], "no field 'objective.fusoin'; the nearest is 'objective.fusion'"),
        (["optim.lr"], "'optim.lr' is no change of a recipe: write path=value"),
        (["optim.lr=1", "optim.lr=2"], "optim.lr is changed twice"),
        (["objective.fusion=mux"], "objective.fusion: .*did you mean 'max'"),
        (["optim.lr=-1"], "optim.lr: Input should be greater than 0"),
        (["optim.lr=fast"], "optim.lr: Input should be a valid number"),
        (["optim.lr=true"], "optim.lr is true: give a number"),
        (["optim.lr=NaN"], "optim.lr is NaN: give a finite number"),
        (["optim.steps=1.5"], "optim.steps: Input should be a valid integer"),
        (["optim.steps=3", "optim.epochs=1"], "optim.steps is 3, optim.epochs 1.0: give one of the two"),
        (["optim.steps=null"], "optim.steps is None, optim.epochs None"),
        (["data.fraction=2", "optim.batch=0"], "data.fraction: .*; optim.batch: "),
    ],
)
def test_what_is_wrong_is_named_in_one_line(assignments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as failed:
        changed(TINY, *assignments)
    assert "\n" not in str(failed.value)


def test_epochs_and_steps_take_the_place_of_each_other() -> None:
    epochs = changed(TINY, "optim.epochs=3")
    assert (epochs.optim.steps, epochs.optim.epochs) == (None, 3)
    assert changed(epochs, "optim.steps=5").optim == changed(TINY, "optim.steps=5").optim
    assert Recipe.model_validate_json(epochs.model_dump_json()) == epochs
    with pytest.raises(ValueError, match=r"optim\.epochs is 3\.0: how many steps that is depends on the clips"):
        assert epochs.optim.total_steps
    # The least number of steps that reads every row so often: 15 conversations are two batches of 8.
    optim = changed(OWN, "optim.epochs=3", "optim.batch=8").optim
    assert [optim.resolved(rows).total_steps for rows in (5, 16 / 3, 6, 1600)] == [2, 2, 3, 600]
    assert OWN.optim.resolved(235_000).total_steps == 7344  # the paper's


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        extends = "qwen2.5-vl-7b"

        [optim]
        lr = 1e-5
        epochs = 3

        [data]
        annotations = ["refer.json", "chat.json"]
        sources = [{file = "chat.json", loss = "text", weight = 0.25}]
        frames.max_frames = 8

        [model.lora]
        rank = 8

        [evaluation.attention]
        overlays = 5
        """
    )
    recipe = recipes.named(str(file))
    expected = OWN.override(
        {
            "name": "qwen2.5-vl-7b-mine",
            "optim.lr": 1e-5,
            "optim.epochs": 3,
            "data.annotations": ("refer.json", "chat.json"),
            "data.sources": (Source(file="chat.json", loss="text", weight=0.25),),
            "data.frames.max_frames": 8,
            "model.lora": Lora(rank=8),
            "evaluation.attention.overlays": 5,
        }
    )
    assert recipe == expected
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "more.json").write_text(json.dumps({"extends": "../mine.toml", "name": "n", "seed": 4}))
    assert recipes.named(str(tmp_path / "deeper" / "more.json")) == expected.override({"name": "n", "seed": 4})


def test_a_table_of_another_kind_replaces_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    data = {"kind": "shapes_world", "clips": 9, "frames": {"cell_px": 8, "max_frames": 4}}
    file.write_text(json.dumps({"extends": "tiny-files", "data": data}))
    assert recipes.named(str(file)).data == ShapesWorld.model_validate(data)
    # Fields that are not named keep the recipe's values, not the defaults.
    file.write_text(json.dumps({"extends": "tiny-smoke", "data": {"clips": 9}}))
    assert recipes.named(str(file)).data == recipes.tiny_smoke().data.model_copy(update={"clips": 9})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", 'extends = "tinny"', "a.toml: no recipe 'tinny'; did you mean 'tiny'"),
        ("a.toml", 'extends = "tiny"\n[optim]\nlrr = 1', "a.toml: .*no field 'optim.lrr'; the nearest is 'optim.lr'"),
        ("a.toml", 'extends = "tiny"\n[optim]\nlr = 0', "a.toml: optim.lr: Input should be greater than 0"),
        ("a.toml", 'extends = "a.toml"', "it extends itself, over a.toml → a.toml"),
        ("a.toml", "extends = 3", "a.toml: extends is 3"),
        ("a.toml", "extends == 3", "a.toml: .*line 1, column"),
        ("a.json", "{", "a.json: "),
        ("a.json", "[]", "a.json: a recipe is a table of fields, and this is a list"),
        ("a.json", '{"name": "x"}', "a.json: model: Field required; .*for changes of another recipe write extends"),
    ],
)
def test_a_file_that_is_no_recipe_says_why(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as failed:
        recipes.named(str(tmp_path / name))
    assert "\n" not in str(failed.value)


def test_a_source_is_one_of_the_annotations() -> None:
    with pytest.raises(ValueError, match=r"sources\[0\].file 'x.json' is none of the annotations, nl_refer.json"):
        changed(OWN, 'data.sources=[{"file": "x.json"}]')
    with pytest.raises(ValueError, match=r"sources\[1\].file 'nl_refer.json' is there twice"):
        changed(OWN, 'data.sources=[{"file": "nl_refer.json"}, {"file": "nl_refer.json", "loss": "text"}]')
