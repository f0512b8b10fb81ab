"""From an ablation to named trials and the waves they run in. Imports no Ray: a run of cached trials needs none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

from swim.evaluation.suite import families
from swim.recipe import NLReferFiles, Recipe, ShapesWorld
from swimlab.experiment import planned_benchmarks
from swimlab.experiment.ablation import Ablation, PlannedTrial
from swimlab.experiment.arms import Metric
from swimlab.experiment.planned_benchmarks import PlannedBenchmark
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.stored_results import is_present
from swimlab.experiment.trial_spec import TrialSpec, check_model
from swimlab.experiment.tuning import ArmTuning
from swimlab.identity.naming import Identifier
from swimlab.store.presence import Presence
from swimlab.store.sweep_store import SweepStore


@dataclass(frozen=True)
class Plan:
    """Named trials: `arms` in the order of the ablation (arms that mean the same share their trials), and the waves
    in which they run: what a trial starts from is in an earlier wave. Of a tuned ablation (`tuning`: the state of
    each arm) only arms whose values are chosen have trials. `benchmarks` are asked of them all after training. `look`:
    the plan has the trials of that declared look and of those before it, a part of the plan `whole`
    (`swimlab.experiment.looks`)."""

    ablation: Ablation
    recipe: Recipe
    arms: tuple[tuple[PlannedTrial, TrialSpec], ...]
    waves: tuple[tuple[TrialSpec, ...], ...]
    seeds: tuple[int, ...]
    tuning: tuple[ArmTuning, ...] = ()
    benchmarks: tuple[PlannedBenchmark, ...] = ()
    look: int | None = None
    whole: Plan | None = None

    @property
    def trial_ids(self) -> tuple[str, ...]:
        """Every trial once, including those that arms start from."""
        return tuple(spec.trial_id for wave in self.waves for spec in wave)

    @cached_property
    def shared(self) -> dict[str, str]:
        """Arm → the first arm that means the same trials under this recipe, most often itself."""
        ids: dict[str, dict[int, str]] = {arm.name: {} for arm in self.ablation.arms}
        for planned, spec in self.arms:
            ids[planned.arm][planned.seed] = spec.trial_id
        return same_trials(ids)


def same_trials(ids: Mapping[str, Mapping[int, str]]) -> dict[str, str]:
    """Arm → seed → trial id, to arm → the first arm with the very same trials, most often itself. Compared are seeds
    that both have: of two arms of a table with looks one may have more, and one that is not tuned yet has none."""
    first: dict[str, str] = {}
    for arm, of_arm in ids.items():
        alike = (other for other in first if _agree(of_arm, ids[other]))
        first[arm] = first[earlier] if (earlier := next(alike, None)) else arm
    return first


def _agree(one: Mapping[int, str], other: Mapping[int, str]) -> bool:
    common = one.keys() & other.keys()
    return bool(common) and all(one[seed] == other[seed] for seed in common)


def make_plan(
    ablation: Ablation,
    recipe: Recipe,
    settings: Settings,
    seeds: Sequence[int] | None = None,
    identifier: Identifier | None = None,
    tuning: Sequence[ArmTuning] = (),
) -> Plan:
    """Resolves and names the trials. `identifier`: to share where several tables are planned together; `tuning`: the
    arms of a tuned ablation, from the store (`execution.tune_arms.tuning_states`). Uses neither Ray nor the store.
    Raises ValueError or IdentityError for what cannot run."""
    if ablation.tuned and not tuning:
        raise ValueError(f"ablation {ablation.name!r} is tuned: its plan needs to be told what tuning chose")
    identifier = identifier or Identifier(settings.cache)
    names: dict[str, TrialSpec] = {}
    labels: dict[tuple[str, int], set[str]] = {}
    values = {state.arm: state.choice for state in tuning if state.choice is not None}
    planned = ablation.plan(recipe, seeds, values)
    ablation, benchmarks = planned_benchmarks.planned(ablation, recipe, settings, identifier)
    check_measured(ablation, recipe, planned, benchmarks)
    if settings.clips == "stream" and isinstance(recipe.data, ShapesWorld):
        raise ValueError("--clips stream is for your own files; the embedded data is small: leave it out")
    if recipe.optim.batch % max(1, settings.workers):
        raise ValueError(f"optim.batch {recipe.optim.batch} does not divide over --workers {settings.workers}")

    def name(arm: str, seed: int, resolved: Recipe) -> TrialSpec:
        key = resolved.model_dump_json()
        if key not in names:
            _check_data(resolved)
            check_model(resolved)
            base = resolved.init
            init = None if base is None else name(base.name, base.seed, base)
            identity = identifier.identify(resolved)
            trial_id = identity.trial_id
            # Progress labels a trial by arm and seed: two bases of one name must not be taken for each other.
            taken = bool(labels.get((arm, seed), set()) - {trial_id})
            names[key] = TrialSpec(
                trial_id=trial_id,
                arm=f"{arm} {trial_id[:6]}" if taken else arm,
                seed=seed,
                recipe=resolved,
                init_trial_id=init.trial_id if init else None,
                code_fingerprint=identity.code_fingerprint,
                data_fingerprint=identity.data_fingerprint,
                clips_fingerprint=identity.clips_fingerprint,
                evaluations=identity.evaluations,
                keep_checkpoint=settings.keep_checkpoints == "all",
            )
            labels.setdefault((names[key].arm, seed), set()).add(trial_id)
        return names[key]

    arms = tuple((p, name(p.arm, p.seed, p.recipe)) for p in planned)
    unique = merged(names.values())
    depth: dict[str, int] = {}
    for spec in names.values():  # what a trial starts from was named before it
        depth[spec.trial_id] = depth[spec.init_trial_id] + 1 if spec.init_trial_id else 0
    waves = tuple(
        tuple(spec for trial_id, spec in unique.items() if depth[trial_id] == level)
        for level in range(max(depth.values(), default=-1) + 1)
    )
    return Plan(
        ablation, recipe, arms, waves, tuple(ablation.seeds if seeds is None else seeds), tuple(tuning), benchmarks
    )


def check_measured(
    ablation: Ablation, recipe: Recipe, planned: Sequence[PlannedTrial], benchmarks: Sequence[PlannedBenchmark]
) -> None:
    """Raises ValueError where neither the suites of the arms nor a benchmark measures the primary metric or that of a
    claim. Tuning chooses before a benchmark could be asked."""
    # An arm may have a suite that the recipe lacks.
    suites = {trial.arm: tuple(trial.recipe.evaluation) for trial in planned}
    asked = () if ablation.tuned else tuple(family for item in benchmarks for family in item.suite.module.FAMILIES)
    _check_measured(ablation, ablation.primary, "the primary metric", recipe, suites, asked)
    for claim in ablation.paper.claims:
        of_arms = {arm: suites[arm] for arm in ablation.contrast(claim) if arm in suites}
        role = f"the metric of claim {claim.text!r}"
        _check_measured(ablation, ablation.metric_of(claim), role, recipe, of_arms, asked)


def _check_measured(
    ablation: Ablation,
    metric: Metric,
    role: str,
    recipe: Recipe,
    suites: Mapping[str, tuple[str, ...]],
    asked: tuple[str, ...],
) -> None:
    """`suites`: of each arm that needs the metric; `asked`: families of benchmarks. Raises ValueError where an arm
    lacks it."""
    measured = metric.measured(recipe.name)
    if not all(measured.startswith((*families(of_arm), *asked)) for of_arm in set(suites.values())):
        raise ValueError(
            f"{measured!r}, {role} of {ablation.name!r}, is not measured under recipe {recipe.name!r}: "
            f"declare a stand-in, Metric({metric.name!r}, standin={{{recipe.name!r}: 'attention.ap'}})"
        )


def _check_data(recipe: Recipe) -> None:
    if isinstance(recipe.data, NLReferFiles) and recipe.data.placeholders == "keep":
        raise ValueError("data.placeholders is 'keep': rows with <region> can be asked about, and not trained on")
    if recipe.data.frames.decoder == "decord" and find_spec("decord") is None:
        # PyAV takes 0.2 s to import, and no other plan needs it.
        from swim.data.video.by_decord import MISSING

        raise ValueError(MISSING)


def merged(specs: Iterable[TrialSpec]) -> dict[str, TrialSpec]:
    """Trial id → the first spec of the trial, with the evaluations of all of them: recipes that differ in what they
    measure are one trial."""
    unique: dict[str, TrialSpec] = {}
    for spec in specs:
        first = unique.setdefault(spec.trial_id, spec)
        evaluations = {e.evaluation_id: e for e in (*first.evaluations, *spec.evaluations)}
        if len(evaluations) > len(first.evaluations):
            unique[spec.trial_id] = first.model_copy(update={"evaluations": tuple(evaluations.values())})
    return unique


def missing(
    plans: Sequence[Plan], store: SweepStore, present: Presence | None = None
) -> tuple[tuple[TrialSpec, ...], ...]:
    """The waves that still have to run, of all plans together, each trial once: trials that are not committed, and
    those of arms that lack an evaluation. In a wave, trials that others start from come first. A base is left out when
    the store has all trials that start from it. `present`: of this store, where it was read already."""
    everything = merged(spec for plan in plans for wave in plan.waves for spec in wave)
    present = present or Presence.read(store)
    done = present.trials
    arms = merged(spec for plan in plans for _, spec in plan.arms)
    needed = {trial_id for trial_id, spec in arms.items() if not is_present(spec, present)}
    starts = {spec.init_trial_id for spec in everything.values()}
    waves = []
    for level in reversed(range(max((len(plan.waves) for plan in plans), default=0))):
        of_level = {s.trial_id for plan in plans for wave in plan.waves[level : level + 1] for s in wave}
        specs = [spec for trial_id, spec in everything.items() if trial_id in of_level & needed]
        todo = sorted(specs, key=lambda spec: spec.trial_id not in starts)
        new = [spec for spec in todo if spec.trial_id not in done]
        needed |= {spec.init_trial_id for spec in new if spec.init_trial_id and spec.init_trial_id not in done}
        waves.append(tuple(s.model_copy(update={"keep_checkpoint": True}) if s.trial_id in starts else s for s in todo))
    return tuple(wave for wave in reversed(waves) if wave)
