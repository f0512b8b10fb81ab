"""Worlds: the recipe as named is world 0, and two worlds share nothing but the code."""

import pytest

from swim.recipe import Lora, NLReferFiles, Recipe
from swim.recipes import named
from swim.worlds import world

EMBEDDED = ("tiny", "tiny-hard-look", "tiny-hard-twins", "tiny-deep", "tiny-smoke")
HUB = named("qwen2.5-vl-7b").override({"model.lora": Lora(rank=8)})


def chain(recipe: Recipe) -> list[Recipe]:
    return [recipe, *(chain(recipe.init) if recipe.init else [])]


@pytest.mark.parametrize("name", EMBEDDED)
def test_world_0_is_the_recipe_as_it_is_named(name: str) -> None:
    assert world(named(name), 0) == named(name)
    assert world(named(name), 0, order=7) == named(name).override({"seed": 7})


@pytest.mark.parametrize("name", EMBEDDED)
def test_two_worlds_differ_in_every_draw_and_in_nothing_else(name: str) -> None:
    worlds = [chain(world(named(name), number)) for number in range(20)]
    for stage, of_name in enumerate(chain(named(name))):
        of_stage = [recipes[stage] for recipes in worlds]
        assert [recipe.seed for recipe in of_stage] == list(range(20))
        assert len({recipe.data.seed for recipe in of_stage}) == len({recipe.model.seed for recipe in of_stage}) == 20
        for recipe in of_stage:
            as_named = {"seed": 0, "data.seed": of_name.data.seed, "model.seed": of_name.model.seed, "init": None}
            assert recipe.override(as_named) == of_name.override({"init": None})
    # The test set of one world trains no model of another.
    drawn = {(recipe.data.seed, len(recipes)) for recipes in worlds for recipe in recipes}
    assert len({seed for seed, _ in drawn}) == len(drawn)


def test_a_world_is_a_valid_recipe_whose_weights_are_those_of_its_base() -> None:
    for name in EMBEDDED:
        recipe = world(named(name), 3)
        assert Recipe.model_validate(recipe.model_dump()) == recipe
        assert len({stage.model.seed for stage in chain(recipe)}) == 1


def test_recipes_that_name_one_base_have_one_base_in_each_world() -> None:
    look, easy, twins = (world(named(name), 2) for name in ("tiny-hard-look", "tiny", "tiny-hard-twins"))
    assert look.init == easy.init
    assert twins.init
    assert twins.init.init == easy.init
    assert look.data != easy.data


def test_another_order_in_one_world_changes_the_order_alone() -> None:
    here, there = (world(named("tiny-hard-look"), 2, order=order) for order in (2, 5))
    assert (here.seed, there.seed) == (2, 5)
    assert there.model_copy(update={"seed": 2}) == here


def test_a_checkpoint_and_files_of_ones_own_stay_as_they_are() -> None:
    assert world(HUB, 4) == HUB.override({"seed": 4})
    own = named("tiny-files")
    assert isinstance(own.data, NLReferFiles)
    drawn = world(own, 4)
    assert (drawn.data, drawn.seed) == (own.data, 4)
    assert drawn.model.seed != own.model.seed


def test_a_base_trained_on_files_has_another_order_in_each_world() -> None:
    """Its data stay, so that without it two worlds would start from the same weights."""
    base = HUB.override({"name": "base", "seed": 3})
    recipe = HUB.override({"init": base})
    assert [world(recipe, number).init.seed for number in (0, 1, 3)] == [3, 4, 6]


def test_the_seeds_of_a_world_never_change() -> None:
    """They are in the ids of trials."""
    recipe = world(named("tiny-hard-look"), 1)
    assert [(r.data.seed, r.model.seed, r.seed) for r in chain(recipe)] == [
        (183274554, 880479343, 1),
        (949168872, 880479343, 1),
        (1755207883, 880479343, 1),
    ]
