"""The manifest of a run: which trials it is about, stored before the first one starts, so that `swimlab watch` can show
which are waiting.

plans/<ablation>/<recipe>.json    replaced by every run; only shown, never read to decide what runs
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from swim.recipe import Frozen
from swimlab.stats import intervals
from swimlab.stats.pairing import Origin, comparable
from swimlab.store.errors import StoreError
from swimlab.store.paths import checked_path
from swimlab.store.provenance import utc_now
from swimlab.store.sealed_json import SealedModel
from swimlab.store.sweep_store import SweepStore

if TYPE_CHECKING:
    from swimlab.experiment.plan import Plan
    from swimlab.experiment.trial_spec import TrialSpec

FOLDER = "plans"


class AnnouncedTrial(Frozen):
    """`shown`: whether the trial is a row of the table; the others are what rows start from."""

    trial_id: str
    arm: str
    seed: int
    steps: int
    shown: bool


class AnnouncedClaim(Frozen):
    """Weights over arms, positive as claimed whatever the metric's direction; `above` is what their sum is compared
    with (0, but for a claim about one arm)."""

    text: str
    weights: dict[str, float]
    above: float = 0.0
    margin: float
    non_inferiority: bool


class RunManifest(SealedModel):
    """One run of an ablation on a recipe, or of a search. `metric`: the metric of its claims, as records name it.
    `unproposed`: how many points a search has still to propose; None for an ablation."""

    schema_version: int = 1
    experiment: str
    recipe: str
    announced_at: str
    metric: str
    claims: tuple[AnnouncedClaim, ...]
    trials: tuple[AnnouncedTrial, ...]
    unproposed: int | None = None


def announce(
    plan: Plan,
    store: SweepStore,
    todo: Collection[str],
    steps: Callable[[TrialSpec], int] = lambda spec: spec.recipe.optim.total_steps,
) -> None:
    """Writes the plan's manifest: its rows, and those trials that rows start from and that are in `todo`. `steps`: of a
    trial, which are counted from its clips where its recipe has epochs.

    Raises StoreError when the store cannot be written.
    """
    ablation, recipe = plan.ablation, plan.recipe.name
    rows = [(planned.arm, planned.seed, spec) for planned, spec in plan.arms]
    shown = {spec.trial_id for _, _, spec in rows}
    bases = [(spec.arm, spec.seed, spec) for wave in plan.waves for spec in wave if spec.trial_id in set(todo) - shown]
    announcement = RunManifest(
        experiment=ablation.name,
        recipe=recipe,
        announced_at=utc_now(),
        metric=ablation.primary.measured(recipe),
        claims=tuple(
            AnnouncedClaim(
                text=claim.text,
                weights=ablation.oriented_weights(claim),
                above=claim.threshold or 0.0,
                margin=claim.margin,
                non_inferiority=claim.non_inferiority,
            )
            for claim in ablation.paper.claims
        ),
        trials=tuple(
            AnnouncedTrial(
                trial_id=spec.trial_id,
                arm=arm,
                seed=seed,
                steps=steps(spec),
                shown=spec.trial_id in shown,
            )
            for arm, seed, spec in bases + rows
        ),
    )
    write(announcement, store)


def write(announcement: RunManifest, store: SweepStore) -> None:
    """Replaces the manifest of the run before. Raises StoreError when the store cannot be written."""
    store.backend.replace(_path(announcement), announcement.to_json())


def _path(manifest: RunManifest) -> str:
    return checked_path(f"{FOLDER}/{manifest.experiment}/{manifest.recipe}.json")


def announcements(store: SweepStore) -> list[RunManifest]:
    """The manifests of all runs, the latest first. Raises StoreError for one that cannot be read."""
    manifests = []
    for path, data in store.backend.read_many(store.list_files(FOLDER)).items():
        try:
            manifest = RunManifest.from_json(data)
            if path != _path(manifest):
                raise ValueError(f"it is that of {_path(manifest)}")
        except ValueError as error:
            raise StoreError(
                f"{store.uri}/{path} is no announcement that this swimlab reads, or is damaged ({error}); delete it: "
                "the next run of the experiment writes it again"
            ) from error
        manifests.append(manifest)
    return sorted(manifests, key=lambda manifest: manifest.announced_at, reverse=True)


def judged(
    manifest: RunManifest, rows: Mapping[str, Mapping[str, Any]]
) -> list[tuple[AnnouncedClaim, str, float | None, float | None]]:
    """The claims on the results so far: claim, verdict in words, mean difference and its half-width. They are judged
    by direction only, because a manifest does not hold the paper's numbers; the final verdict is the report's."""
    from swimlab.stats import verdicts

    values: dict[str, dict[int, float]] = {}
    trials: dict[str, dict[int, str]] = {}
    origins: dict[str, dict[int, Origin]] = {}
    for trial in manifest.trials:
        trials.setdefault(trial.arm, {})[trial.seed] = trial.trial_id
        row = rows.get(trial.trial_id)
        if trial.shown and row is not None and row.get(manifest.metric) is not None:
            values.setdefault(trial.arm, {})[trial.seed] = row[manifest.metric]
            origins.setdefault(trial.arm, {})[trial.seed] = Origin.of(row)
    mixed = not comparable(origin for of_arm in origins.values() for origin in of_arm.values())
    paired = [
        intervals.paired_differences(claim.weights, values, trials, claim.above, origins) for claim in manifest.claims
    ]
    evidence = [
        verdicts.ClaimData(
            differences=tuple(differences.values()),
            margin=claim.margin,
            non_inferiority=claim.non_inferiority,
            direction_only=True,
            unpaired=len(intervals.paired_differences(claim.weights, values, trials)) - len(differences),
        )
        for claim, differences in zip(manifest.claims, paired, strict=True)
    ]
    judged_claims = []
    for claim, outcome in zip(manifest.claims, verdicts.judge(evidence, mixed=mixed), strict=True):
        interval = outcome.interval
        half = interval.high - interval.mean if interval and interval.high is not None else None
        judged_claims.append((claim, str(outcome.verdict or "MIXED"), interval.mean if interval else None, half))
    return judged_claims
