"""Which modules of `swim` a recipe runs: the roots of its code fingerprint."""

from swim import registry
from swim.recipe import Recipe, ShapesWorld


def entry_modules(recipe: Recipe) -> tuple[str, ...]:
    """Root modules, registry entries included only where the recipe selects them (an entry nobody selects is not part
    of any trial's identity). Imports are followed from here by whoever fingerprints."""
    roots = ["swim.train", "swim.evaluate", f"swim.models.{recipe.model.kind}", "swim.data.video", "swim.data.samples"]
    fusions = {recipe.evaluation.readout_fusion}
    normals = {"none"}
    if recipe.objective.mask_weight > 0:
        fusions.add(recipe.objective.fusion)
        normals.add(recipe.objective.normalise)
        roots.append(registry.module_name("swim.supervision.losses", recipe.objective.mask_loss))
    roots += [registry.module_name("swim.supervision.fusion", name) for name in fusions]
    roots += [registry.module_name("swim.supervision.normalise", name) for name in normals]
    if isinstance(recipe.data, ShapesWorld):
        roots.append("swim.data.shapes_world")
    return tuple(sorted(roots))
