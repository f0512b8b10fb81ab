"""Which modules of `swim` a recipe runs: the roots of its code fingerprints."""

from collections.abc import Iterable

from swim import registry
from swim.recipe import FAMILIES, SUITES, DataConfig, Recipe, ShapesWorld

# Declarations of values, which ids hold as values: in no fingerprint. They import nothing of `swim` but registries.
SCHEMAS = frozenset(
    {
        "swim.recipe",
        "swim.frozen",
        "swim.data_config",
        "swim.optim_config",
        "swim.outputs",
        "swim.evaluation.attention_config",
    }
)


def code_roots(recipe: Recipe) -> tuple[str, ...]:
    """Root modules of training, registry entries included only where the recipe selects them (an entry nobody selects
    is not part of any trial's identity). Imports are followed from here by whoever fingerprints."""
    roots = [
        "swim.train",
        f"swim.models.{recipe.model.kind}",
        registry.module_name(FAMILIES, recipe.model.family),
        *reading_modules(recipe.data),
        *_entries(_objective_choices(recipe)),
    ]
    if isinstance(recipe.data, ShapesWorld):
        roots.append("swim.data.synthetic.shapes_world")
    return tuple(sorted(set(roots)))


def suite_roots(recipe: Recipe, suite: str) -> tuple[str, ...]:
    """Root modules of one suite of the recipe, with whatever its configuration names. What the recipe's own objective
    names is among the roots of training, so that all arms of a table are evaluated by the same code."""
    roots = [
        "swim.evaluation.evaluate",
        registry.module_name(SUITES, suite),
        f"swim.models.{recipe.model.kind}",
        registry.module_name(FAMILIES, recipe.model.family),
        *reading_modules(recipe.data),
        *_entries(recipe.evaluation[suite].choices()),
    ]
    return tuple(sorted(set(roots)))


def reading_modules(data: DataConfig) -> tuple[str, ...]:
    """Root modules that turn the annotation files of a data set into clips."""
    formats = ("nl-refer",) if isinstance(data, ShapesWorld) else data.formats
    entries = (registry.module_name("swim.data.formats", name) for name in formats)
    return ("swim.data.video.decode", "swim.data.rows.read", "swim.data.annotations.samples", *sorted(entries))


def _objective_choices(recipe: Recipe) -> set[tuple[str, str]]:
    objective = recipe.objective
    if objective.mask_weight == 0 or not recipe.optim.trains:
        return set()
    return {
        *objective.choices(),
        ("normalise", objective.normalise),
        ("losses", objective.mask_loss),
        ("schedule", objective.mask_schedule),
        ("target", objective.target),
    }


def _entries(choices: Iterable[tuple[str, str]]) -> list[str]:
    return [registry.module_name(f"swim.supervision.{package}", name) for package, name in choices]
