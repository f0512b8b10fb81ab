"""A named trial, as workers get it."""

from __future__ import annotations

from pathlib import Path

from swim.model_family import check_folder
from swim.recipe import Frozen, HubModel, Recipe
from swimlab.identity import naming
from swimlab.identity.naming import EvaluationIdentity


class TrialSpec(Frozen):
    """A named trial. `arm` labels progress; what runs is `recipe`. Without `keep_checkpoint` the trained weights are
    hashed and not stored. `evaluations`: by which suites it is evaluated."""

    trial_id: str
    arm: str
    seed: int
    recipe: Recipe
    init_trial_id: str | None
    code_fingerprint: str
    data_fingerprint: str
    clips_fingerprint: str
    evaluations: tuple[EvaluationIdentity, ...] = ()
    keep_checkpoint: bool = True

    def evaluation(self, suite: str) -> EvaluationIdentity:
        """The evaluation by one suite. Raises KeyError where the recipe does not have the suite."""
        return {evaluation.suite: evaluation for evaluation in self.evaluations}[suite]


def check_model(recipe: Recipe) -> None:
    """Raises ValueError where the model is a local folder of another family than the recipe says."""
    if isinstance(recipe.model, HubModel):
        check_folder(recipe.model)


def name_trial(label: str, recipe: Recipe, cache: Path) -> TrialSpec:
    """Names the trial of a recipe. Raises IdentityError, and ValueError for a folder of another model family."""
    check_model(recipe)
    identity = naming.Identifier(cache).identify(recipe)
    return TrialSpec(
        trial_id=identity.trial_id,
        arm=label,
        seed=recipe.seed,
        recipe=recipe,
        init_trial_id=identity.init.trial_id if identity.init else None,
        code_fingerprint=identity.code_fingerprint,
        data_fingerprint=identity.data_fingerprint,
        clips_fingerprint=identity.clips_fingerprint,
        evaluations=identity.evaluations,
    )
