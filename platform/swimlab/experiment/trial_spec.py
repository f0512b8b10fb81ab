"""A named trial, as workers get it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from swim.model_family import check_folder
from swim.recipe import Frozen, HubModel, Recipe
from swimlab.identity import naming
from swimlab.identity.naming import ClipsIdentity, EvaluationIdentity
from swimlab.identity.splits import Scored, Split


class TrialSpec(Frozen):
    """A named trial. `arm` labels progress; what runs is `recipe`. Without `keep_checkpoint` the trained weights are
    hashed and not stored. `evaluations`: by which suites it is evaluated, on which clips; `validation`: the clips that
    choose, where it is evaluated on them."""

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
    validation: ClipsIdentity | None = None

    def clips(self, split: Split) -> ClipsIdentity:
        """The data set that has a split. Raises ValueError for clips that choose where the trial is not evaluated on
        them."""
        if split != "validation":
            return ClipsIdentity(data_fingerprint=self.data_fingerprint, clips_fingerprint=self.clips_fingerprint)
        if self.validation is None:
            raise ValueError(f"trial {self.trial_id} is not planned on validation clips")
        return self.validation

    @property
    def scored(self) -> tuple[Scored, ...]:
        """The splits that it is evaluated on."""
        return tuple(dict.fromkeys(evaluation.split for evaluation in self.evaluations))

    def evaluation(self, suite: str) -> EvaluationIdentity:
        """The evaluation by one suite. Raises KeyError where the recipe does not have the suite."""
        return {evaluation.suite: evaluation for evaluation in self.evaluations}[suite]


def check_model(recipe: Recipe) -> None:
    """Raises ValueError where the model is a local folder of another family than the recipe says."""
    if isinstance(recipe.model, HubModel):
        check_folder(recipe.model)


def name_trial(label: str, recipe: Recipe, cache: Path, splits: Sequence[Scored] = ("held_out",)) -> TrialSpec:
    """Names the trial of a recipe, to be evaluated on these splits. Raises IdentityError, and ValueError for a folder
    of another model family and for data without the clips of a split."""
    check_model(recipe)
    identity = naming.Identifier(cache).identify(recipe, splits)
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
        validation=identity.validation,
    )
