"""Whether the fixed ruler of attention reads the layers in which a table's arms were trained."""

from __future__ import annotations

from swim.evaluation.attention_config import AttentionConfig
from swim.recipe import Recipe
from swim.supervision.layers import resolve
from swimlab.experiment.judged_claims import RULER
from swimlab.experiment.results import Results


def caveat(results: Results) -> str:
    """A sentence with a space in front, for a table with a primary metric or a claim of the ruler's; else ""."""
    ablation, recipe_name = results.ablation, results.recipe.name
    metrics = [ablation.primary, *map(ablation.metric_of, ablation.paper.claims)]
    if not any(metric.measured(recipe_name).startswith(RULER) for metric in metrics):
        return ""
    recipes = [ablation.resolve(results.recipe, arm, ablation.seeds[0]) for arm in ablation.arms]
    supervised = [r for r in recipes if r.objective.mask_weight > 0 and r.optim.trains]
    layers = {(_ruler_layers(recipe), resolve(recipe.objective.layers, recipe.model.layers)) for recipe in supervised}
    if not layers or any(ruler is None for ruler, _ in layers):
        return ""
    if all(ruler == own for ruler, own in layers):
        return (
            " The ruler of attention.… reads the very layers that every supervised arm is trained in; it says nothing "
            "about other layers."
        )
    return (
        " The ruler of attention.… reads the same layers of every arm, which are not those that each is trained in: "
        "the arms' own reading stands beside a claim where all its arms have one."
    )


def _ruler_layers(recipe: Recipe) -> tuple[int, ...] | None:
    config = recipe.evaluation.get("attention")
    return resolve(config.readout.layers, recipe.model.layers) if isinstance(config, AttentionConfig) else None
