"""The claims of an ablation, judged on its results: at its looks, and the claims about each metric as a family."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from swimlab.experiment import mediation
from swimlab.experiment.ablation import Ablation
from swimlab.experiment.claim import Claim, cancels
from swimlab.experiment.mediation import Mediation
from swimlab.experiment.plan import same_trials
from swimlab.experiment.results import Results
from swimlab.stats import intervals, pairing, verdicts
from swimlab.stats.pairing import Group, Origin
from swimlab.stats.verdicts import ClaimData, JudgedClaim
from swimlab.store.flat_rows import trial_row

# Of a metric of attention by the fixed ruler the same by the arm's own layers and rows (the suite `attention`).
RULER, OWN = "attention.", "attention_own."


@dataclass(frozen=True)
class ClaimResult:
    """One claim, judged. `weights` are positive as claimed on its metric, `measured` as records name it; `seeds` are
    those of the outcome. `own`: the same differences of the arms' own reading, `own_metric` (seed → difference), where
    the claim is about attention and all its arms have one."""

    claim: Claim
    measured: str
    weights: Mapping[str, float]
    outcome: JudgedClaim
    seeds: tuple[int, ...]
    mediation: tuple[Mediation, ...]
    own_metric: str
    own: Mapping[int, float]
    about_primary: bool

    @property
    def above(self) -> float:
        """The number that the weighted sum is compared with."""
        return self.claim.threshold or 0.0


class TrialsByArm:
    """The trials of results by arm and seed: values of metrics, trial ids, and what they may be compared with."""

    def __init__(self, results: Results) -> None:
        names = [arm.name for arm in results.ablation.arms]
        self._values: dict[str, dict[str, dict[int, float]]] = {}
        self.ids: dict[str, dict[int, str]] = {name: {} for name in names}
        self.origins: dict[str, dict[int, Origin]] = {name: {} for name in names}
        self.ended: dict[str, set[int]] = {name: set() for name in names}
        self.by_seed: dict[int, dict[str, Origin]] = {}
        for trial in results.trials:
            self.ids[trial.arm][trial.seed] = trial.trial_id
            if trial.record is not None or trial.failure:
                self.ended[trial.arm].add(trial.seed)
            if trial.record is not None:
                origin = Origin.of(trial_row(trial.record))
                self.origins[trial.arm][trial.seed] = origin
                self.by_seed.setdefault(trial.seed, {})[trial.trial_id] = origin
                for metric, value in trial.record.metrics.items():
                    self._values.setdefault(metric, {}).setdefault(trial.arm, {})[trial.seed] = value
        self.mixture: tuple[Group, ...] = pairing.table_mixture(self.by_seed, results.ablation.replicate)
        self.shared = same_trials(self.ids)

    def values(self, metric: str) -> Mapping[str, Mapping[int, float]]:
        """Arm → seed → value, of the trials that have the metric."""
        return self._values.get(metric, {})

    def differences(self, weights: Mapping[str, float], metric: str, above: float = 0.0) -> dict[int, float]:
        """As `intervals.paired_differences`, of trials that may be compared."""
        return intervals.paired_differences(weights, self.values(metric), self.ids, above, self.origins)


def judge_claims(results: Results, trials: TrialsByArm, comparable: bool) -> tuple[ClaimResult, ...]:
    """Every claim of the ablation in its order. `comparable`: whether the paper's numbers are of the same recipe and
    metric; `trials`: of the results."""
    ablation, recipe_name = results.ablation, results.recipe.name
    claims = list(ablation.paper.claims)
    measured = [ablation.metric_of(claim).measured(recipe_name) for claim in claims]
    weights = [ablation.oriented_weights(claim) for claim in claims]
    paired = [
        trials.differences(w, metric, claim.threshold or 0.0)
        for claim, w, metric in zip(claims, weights, measured, strict=True)
    ]
    evidence = [
        _claim_data(ablation, claim, w, metric, differences, trials, comparable)
        for claim, w, metric, differences in zip(claims, weights, measured, paired, strict=True)
    ]
    outcomes = verdicts.judge_families(
        evidence, measured, alpha=ablation.alpha, mixed=bool(trials.mixture), schedule=ablation.schedule
    )
    mediated = _mediation(results, claims, measured, trials)
    own_metrics = [OWN + m.removeprefix(RULER) if m.startswith(RULER) else "" for m in measured]
    return tuple(
        ClaimResult(
            claim=claim,
            measured=measured[i],
            weights=weights[i],
            outcome=outcomes[i],
            seeds=tuple(paired[i])[: len(outcomes[i].evidence.differences)],
            mediation=mediated[i],
            own_metric=own_metrics[i],
            own=trials.differences(weights[i], own_metrics[i], claim.threshold or 0.0),
            about_primary=ablation.metric_of(claim) is ablation.primary,
        )
        for i, claim in enumerate(claims)
    )


def _claim_data(
    ablation: Ablation,
    claim: Claim,
    weights: Mapping[str, float],
    metric: str,
    differences: Mapping[int, float],
    trials: TrialsByArm,
    comparable: bool,
) -> ClaimData:
    finished = len(intervals.paired_differences(weights, trials.values(metric), trials.ids))
    is_primary = ablation.metric_of(claim) is ablation.primary
    return ClaimData(
        differences=tuple(differences.values()),
        margin=claim.margin,
        non_inferiority=claim.non_inferiority,
        paper_gap=_paper_gap(ablation, claim) if comparable and is_primary else None,
        direction_only=not comparable,
        same_trials=cancels(weights, trials.shared),
        unpaired=finished - len(differences),
        at_looks=_at_looks(ablation, weights, differences, trials),
    )


def _at_looks(
    ablation: Ablation, weights: Mapping[str, float], differences: Mapping[int, float], trials: TrialsByArm
) -> tuple[int | None, ...]:
    """How many of the differences each look has; None where a trial of the claim's arms has not ended."""
    counts: list[int | None] = []
    for look in ablation.looks:
        seeds = set(ablation.seeds[:look])
        complete = all(seeds <= trials.ended[arm] for arm in weights)
        counts.append(len(seeds & differences.keys()) if complete else None)
    return tuple(counts)


def _paper_gap(ablation: Ablation, claim: Claim) -> float | None:
    weights, rows = ablation.oriented_weights(claim), ablation.paper.rows
    if not set(weights) <= set(rows):
        return None
    return math.fsum(w * rows[arm] for arm, w in weights.items()) - (claim.threshold or 0.0)


def _mediation(
    results: Results, claims: list[Claim], measured: list[str], trials: TrialsByArm
) -> list[tuple[Mediation, ...]]:
    """The mediation of each claim's arms, where it is about answers."""
    ablation = results.ablation
    recipes = {arm.name: ablation.resolve(results.recipe, arm, ablation.seeds[0]) for arm in ablation.arms}
    metrics = {arm: mediation.mediating_metric(recipe) for arm, recipe in recipes.items()}
    values = {metric: trials.values(metric) for metric in metrics.values() if metric is not None}
    return [
        mediation.of_claim(metric, ablation.contrast(claim), claim.margin, metrics, values)
        for claim, metric in zip(claims, measured, strict=True)
    ]
