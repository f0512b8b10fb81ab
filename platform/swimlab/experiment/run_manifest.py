"""The manifest of a run: which trials it is about, stored before the first one starts, so that `swimlab watch` can show
which are waiting.

plans/<ablation>/<recipe>.json    replaced by every run; only shown, never read to decide what runs
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from swim.recipe import Frozen
from swim.worlds import Replicate
from swimlab.stats import intervals, verdicts
from swimlab.stats.pairing import Origin, table_mixture
from swimlab.stats.schedule import Schedule
from swimlab.stats.verdicts import ClaimData
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
    with (0, but for a claim about one arm); `metric` as records name it, None for that of the manifest."""

    text: str
    weights: dict[str, float]
    above: float = 0.0
    margin: float
    non_inferiority: bool
    metric: str | None = None


class RunManifest(SealedModel):
    """One run of an ablation on a recipe, or of a search. `metric`: its primary one, as records name it. `looks`: the
    numbers of seeds at which its claims are judged, () for one look; `alpha`: the rate of false results they may have.
    `unproposed`: how many points a search has still to propose; None for an ablation. `replicate`: what its seeds are,
    as of `Ablation`."""

    schema_version: int = 1
    experiment: str
    recipe: str
    announced_at: str
    metric: str
    claims: tuple[AnnouncedClaim, ...]
    trials: tuple[AnnouncedTrial, ...]
    unproposed: int | None = None
    replicate: Replicate = "order"
    looks: tuple[int, ...] = ()
    alpha: float = intervals.ALPHA


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
                text=claim.text if claim.metric is None else f"{claim.text} in {claim.metric}",
                weights=ablation.oriented_weights(claim),
                above=claim.threshold or 0.0,
                margin=claim.margin,
                non_inferiority=claim.non_inferiority,
                metric=None if claim.metric is None else ablation.metric_of(claim).measured(recipe),
            )
            for claim in ablation.paper.claims
        ),
        looks=tuple(ablation.looks),
        alpha=ablation.alpha,
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
        replicate=ablation.replicate,
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
    trials: dict[str, dict[int, str]] = {}
    origins: dict[str, dict[int, Origin]] = {}
    shown = [trial for trial in manifest.trials if trial.shown and trial.trial_id in rows]
    for trial in manifest.trials:
        trials.setdefault(trial.arm, {})[trial.seed] = trial.trial_id
    by_seed: dict[int, dict[str, Origin]] = {}
    metrics = [claim.metric or manifest.metric for claim in manifest.claims]
    values: dict[str, dict[str, dict[int, float]]] = {metric: {} for metric in metrics}
    for trial in shown:
        row = rows[trial.trial_id]
        origin = origins.setdefault(trial.arm, {})[trial.seed] = Origin.of(row)
        by_seed.setdefault(trial.seed, {})[trial.trial_id] = origin
        for metric, of_metric in values.items():
            if (value := row.get(metric)) is not None:
                of_metric.setdefault(trial.arm, {})[trial.seed] = value
    mixed = bool(table_mixture(by_seed, manifest.replicate))
    schedule = Schedule(manifest.looks) if manifest.looks else None
    evidence = [
        _claim_data(manifest, claim, values[metric], trials, origins)
        for claim, metric in zip(manifest.claims, metrics, strict=True)
    ]
    outcomes = verdicts.judge_families(evidence, metrics, alpha=manifest.alpha, mixed=mixed, schedule=schedule)
    judged_claims = []
    for claim, outcome in zip(manifest.claims, outcomes, strict=True):
        interval = outcome.interval
        half = interval.high - interval.mean if interval and interval.high is not None else None
        label = str(outcome.verdict or "MIXED")
        judged_claims.append((claim, label, interval.mean if interval else None, half))
    return judged_claims


def _claim_data(
    manifest: RunManifest,
    claim: AnnouncedClaim,
    values: Mapping[str, Mapping[int, float]],
    trials: Mapping[str, Mapping[int, str]],
    origins: Mapping[str, Mapping[int, Origin]],
) -> ClaimData:
    differences = intervals.paired_differences(claim.weights, values, trials, claim.above, origins)
    seeds = sorted({trial.seed for trial in manifest.trials if trial.shown})
    at_looks: list[int | None] = []
    for look in manifest.looks:
        of_look = set(seeds[:look])
        complete = len(of_look) == look and all(of_look <= values.get(arm, {}).keys() for arm in claim.weights)
        at_looks.append(len(of_look & differences.keys()) if complete else None)
    return ClaimData(
        differences=tuple(differences.values()),
        margin=claim.margin,
        non_inferiority=claim.non_inferiority,
        direction_only=True,
        unpaired=len(intervals.paired_differences(claim.weights, values, trials)) - len(differences),
        at_looks=tuple(at_looks),
    )
