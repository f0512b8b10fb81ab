"""Which modules of `swim` a recipe runs: the roots of its code fingerprint."""

from swim import registry
from swim.recipe import DataConfig, Readout, Recipe, ShapesWorld


def entry_modules(recipe: Recipe) -> tuple[str, ...]:
    """Root modules, registry entries included only where the recipe selects them (an entry nobody selects is not part
    of any trial's identity). Imports are followed from here by whoever fingerprints."""
    roots = [
        "swim.train",
        "swim.evaluate",
        f"swim.models.{recipe.model.kind}",
        "swim.models.families.qwen2_5_vl",
        *reading_modules(recipe.data),
    ]
    objective = recipe.objective
    entries = {("normalise", "none"), *_readout(recipe.evaluation.readout)}
    if objective.mask_weight > 0 and recipe.optim.steps > 0:
        entries |= {
            *_readout(objective),
            ("normalise", objective.normalise),
            ("losses", objective.mask_loss),
            ("schedule", objective.mask_schedule),
        }
    roots += [registry.module_name(f"swim.supervision.{package}", name) for package, name in entries]
    if isinstance(recipe.data, ShapesWorld):
        roots.append("swim.data.shapes_world")
    return tuple(sorted(roots))


def reading_modules(data: DataConfig) -> tuple[str, ...]:
    """Root modules that turn the annotation files of a data set into clips."""
    formats = ("nl-refer",) if isinstance(data, ShapesWorld) else data.formats
    entries = (registry.module_name("swim.data.formats", name) for name in formats)
    return ("swim.data.video", "swim.data.rows", "swim.data.samples", *sorted(entries))


def _readout(readout: Readout) -> set[tuple[str, str]]:
    # Not `layers`: the numbers a choice stands for are in the canonical recipe.
    return {(package, getattr(readout, package)) for package in ("query", "domain", "heads", "fusion")}
