"""The canonical text of a recipe: equal for recipes that train the same, different for any others."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, TypeAdapter

from swim.recipe import Recipe, Source
from swim.supervision.layers import resolve
from swimlab.identity.source_closure import IdentityError
from swimlab.identity.splits import CHOOSING_FIELDS

# The fields that every id holds, whatever their value. A field added later is left out where it has its default, so
# that it changes no id; a default may therefore never change its meaning, and a field in this table never its name.
_ALWAYS = {
    "FramePolicy": "max_frames min_pixels max_pixels cell_px",
    "ShapesWorld": "kind prompts difficulty objects turns clips held_out fraction seed frames",
    "NLReferFiles": "kind annotations videos held_out_annotations formats fraction frames",
    "TinyModel": "kind hidden layers heads kv_heads intermediate vision_hidden vision_depth patch_px merge seed",
    "HubModel": "kind path revision dtype layers cell_px gradient_checkpointing lora",
    "Lora": "rank alpha targets",
    "Objective": "layers query domain heads chosen_heads fusion normalise resize patch_masks mask_loss text_weight "
    "mask_weight mask_schedule",
    "Readout": "layers query domain heads chosen_heads fusion",
    "Decoding": "max_new_tokens",
    "DescribedConfig": "answers max_new_tokens",
    "AlignmentConfig": "conventions readout queries per_layer released_layers clips",
    "AttentionConfig": "readout precision_threshold overlays attributes",
    "MediationConfig": "noun answer",
    "Optim": "steps batch lr betas eps weight_decay warmup_steps final_lr_fraction clip_norm",
    "Recipe": "name model data objective optim evaluation init seed",
}

_SEED = TypeAdapter(int)
_ACTIVE_WITHOUT_MASK = {"text_weight", "mask_weight"}  # with mask_weight 0 the other objective fields have no effect


def canonical(recipe: Recipe, init_id: str | None = None) -> str:
    """Canonical JSON of `canonical_fields`."""
    return canonical_json(canonical_fields(recipe, init_id))


def canonical_fields(recipe: Recipe, init_id: str | None = None) -> dict[str, Any]:
    """The recipe fields that decide a result, as plain values.

    Left out: the recipe's name, its evaluation, its validation clips, objective fields that mask_weight 0 makes
    inactive, training fields when there are 0 steps, the paths of a user's files (the data fingerprint covers their
    contents), and newer fields with their default (`plain_fields`). The recipe it starts from appears as `init_id` when
    given, as `trial_id` does, else inline. Raises IdentityError for a value that cannot be written stably.
    """
    # Copies made with model_copy(update=…) skip validation; an int in a float field becomes a float here.
    recipe = Recipe.model_validate(recipe.model_dump())
    tree = plain_fields(recipe, leave_out=("name", "init", "evaluation"))
    # "even:2" of four layers and (1, 3) are one trial.
    tree["objective"]["layers"] = resolve(tree["objective"]["layers"], recipe.model.layers)
    if not recipe.optim.trains:
        # Nothing is trained, so only weights and data decide the result.
        tree["optim"], tree["objective"] = {"steps": 0}, {}
        del tree["seed"]
    elif recipe.objective.mask_weight == 0:
        tree["objective"] = {name: tree["objective"][name] for name in _ACTIVE_WITHOUT_MASK}
    for no_part in ("annotations", "videos", "held_out_annotations", *CHOOSING_FIELDS):
        tree["data"].pop(no_part, None)
    if "sources" in tree["data"]:
        # One that says what is done anyway says nothing, and their order is none of training.
        said = (source.model_dump() for source in tree["data"].pop("sources") if source != Source(file=source.file))
        if kept := sorted(said, key=lambda source: str(source["file"])):
            tree["data"]["sources"] = kept
    if recipe.init is not None:
        tree["init"] = init_id or json.loads(canonical(recipe.init))
    return tree


def seedless(recipe: Recipe) -> str:
    """Equal for recipes that differ in the seed alone, and only for those. What they have in common is worked out once:
    a table of 20 arms and 250 seeds has 20 recipes and 5,000 trials."""
    return recipe.model_copy(update={"seed": 0}).model_dump_json()


def with_seed(fields: dict[str, Any], seed: int) -> dict[str, Any]:
    """`canonical_fields` of a recipe, from those of one that differs in the seed alone."""
    # model_copy does not validate: 1.0 and True become 1 here.
    return fields | {"seed": _SEED.validate_python(seed)} if "seed" in fields else fields


def plain_fields(config: BaseModel, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """The fields of a config as plain values, without those added since with a default that a recipe keeps."""
    always = _ALWAYS.get(type(config).__name__)
    fields: dict[str, Any] = {}
    for name, declared in type(config).model_fields.items():
        value = getattr(config, name)
        added = always is not None and name not in always.split()
        if name in leave_out or (added and value == declared.get_default(call_default_factory=True)):
            continue
        fields[name] = plain_fields(value) if isinstance(value, BaseModel) else value
    return fields


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, ASCII only, floats as Python's shortest repr (5.0 is not 5, -0.0 is 0.0).

    Raises IdentityError naming the path of NaN, an infinity, or anything but dicts with text keys, sequences, text,
    numbers, booleans and None.
    """
    return json.dumps(_plain(value, "recipe"), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any, path: str) -> Any:
    kind = type(value)
    if value is None or kind in (str, bool, int):
        return value
    if kind is float:
        if not math.isfinite(value):
            raise IdentityError(f"{path} is {value}: a trial id needs finite numbers; use one")
        return value + 0.0
    if kind in (list, tuple):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if kind is dict and all(type(key) is str for key in value):
        return {key: _plain(item, f"{path}.{key}") for key, item in value.items()}
    raise IdentityError(
        f"{path} is a {kind.__name__}, which has no stable text; use text, numbers, booleans, None, lists and dicts "
        "with text keys"
    )
