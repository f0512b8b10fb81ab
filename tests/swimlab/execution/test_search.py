"""Searches without Ray: what is declared, what is proposed, what the store answers, what is reported."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

import nano
from swim import recipes
from swim.recipe import HubModel, Recipe
from swimlab import Choice, Float, Int, Metric, Pruning, Search
from swimlab.execution import faults
from swimlab.execution.search import optuna_study, run_search
from swimlab.execution.search.ask_tell import SearchLoop
from swimlab.execution.search.pruning_rungs import (
    EarlierTrial,
    PrunedRecord,
    PrunerReplay,
    PruningContext,
    Rung,
    put_pruned,
    put_rung,
)
from swimlab.execution.search.results import Proposal, ProposalResult
from swimlab.execution.search.tune_searcher import Proposals
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.report import index_page, search_findings, search_page
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore

RECIPE = nano.recipe(base=False, steps=12)


def search(**changes: Any) -> Search:
    fields: dict[str, Any] = {
        "name": "nano",
        "question": "Which <objective> is best?",
        "space": [
            Choice("objective.fusion", ["mean", "max", "add"]),
            Choice("objective.layers", {"both": (1, 2), "even:2": "even:2", "last": (2,)}),
            Float("objective.mask_weight", 0.1, 10, log=True),
        ],
        "objectives": [Metric("attention.ap"), Metric("answer.accuracy")],
        "budget": 14,
        "recipe": "tiny-smoke",
        "pruning": Pruning(at=(0.25, 0.5), clips=2),
    }
    return Search(**fields | changes)


class Lab:
    """Stands in for Ray: a trial's numbers are a formula of its recipe, its rungs the same formula sooner."""

    def __init__(self, folder: Path, record: Callable[..., TrialRecord], evaluate: Callable[..., None]) -> None:
        self.store, self._record, self.ran = SweepStore(str(folder / "store")), record, list[str]()
        self._evaluate = evaluate
        self.interruptions: dict[str, list[str]] = {}  # by fusion
        self.cache = folder / "cache"

    def course(self, declared: Search, recipe: Recipe = RECIPE, retry: bool = True) -> SearchLoop:
        return SearchLoop(declared, recipe, self.store, self.cache, retry=retry)

    def go(self, course: SearchLoop, most: int | None = None) -> list[Proposal]:
        """Run what the course proposes, `most` trials at most."""
        while todo := course.todo():
            for point in todo:
                if most is not None and len(self.ran) >= most:
                    return course.points
                self.run(point, course.gate, course.search.pruning)
                course.settle(point)
        return course.points

    def run(self, point: Proposal, gate: PruningContext | None, pruning: Pruning | None) -> None:
        assert point.spec is not None
        spec = point.spec
        self.ran.append(spec.trial_id)
        objective = spec.recipe.objective
        ap = {"mean": 0.5, "max": 0.3, "add": 0.4}[objective.fusion] + 0.05 * min(objective.mask_weight, 4)
        attempt = self.store.claim(spec.trial_id)
        assert attempt is not None
        if kinds := self.interruptions.get(objective.fusion):
            attempt.fail("why", kinds.pop(0))
            return
        if objective.fusion == "add" and objective.mask_weight > 5:
            attempt.fail("ValueError: diverged", "ValueError")
            return
        fields = {"trial_id": spec.trial_id, "attempt": attempt.number, "recipe": spec.recipe.training()}
        if gate and pruning:
            judge = PrunerReplay(gate, pruning.rule())
            for step in gate.steps:
                metrics = {"attention.ap": ap * step / 12}
                judged_by = spec.evaluation(gate.suite)
                about_rung = {"trial_id": spec.trial_id, "evaluation_id": judged_by.evaluation_id}
                about_rung["split"] = judged_by.split
                rung = Rung(**about_rung, step=step, clips=gate.clips, metrics=metrics)
                put_rung(self.store, rung)
                if judge.stops(step, rung.metrics["attention.ap"]):
                    about = self._record(**fields, metrics=rung.named_metrics).model_dump(
                        exclude={"nonce", "files", "schema_version"}
                    )
                    of = gate.model_dump(include={"search", "objective", "clips"})
                    of["evaluation_id"] = rung.evaluation_id
                    put_pruned(self.store, PrunedRecord(**about | of, step=step, rungs=judge.rungs))
                    return
        assert self.store.commit(attempt, self._record(**fields, nonce=attempt.nonce, metrics={}))
        self._evaluate(self.store, spec, {"attention.ap": ap, "answer.accuracy": 1 / (1 + objective.mask_weight)})


@pytest.fixture
def lab(tmp_path: Path, trial_record: Callable[..., TrialRecord], evaluate: Callable[..., None]) -> Lab:
    return Lab(tmp_path, trial_record, evaluate)


def told(course: SearchLoop) -> list[tuple[dict[str, Any], str]]:
    return [(point.params, course.answers[point.number].state.name) for point in course.points]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"space": [Choice("objective.fuson", ["mean", "max"])]}, "the nearest is 'objective.fusion'"),
        ({"space": [Choice("objective.fusion", ["mean", "maxx"])]}, "did you mean 'max'"),
        ({"space": [Float("objective.mask_weight", -1, 2)]}, "greater than or equal to 0"),
        ({"space": [Float("seed", 0, 2)]}, "may not search 'seed'"),
        ({"space": [Int("data.objects", 1, 3)]}, "must be a Choice"),
        ({"space": []}, "axes over paths"),
        ({"start": [{"objective.fusoin": "mean"}]}, "the nearest is 'objective.fusion'"),
        ({"start": [{"objective.fusion": "maen"}]}, "the nearest is 'mean'"),
        ({"objectives": [Metric("bench_d.avg")]}, "not measured under recipe 'tiny-smoke'"),
        ({"objectives": [Metric("cost.cpu_s", higher_is_better=False)]}, "known at the end only"),
        ({"confirm": (0, 1)}, "confirm"),
        ({"budget": 0}, "budget"),
        ({"name": "a b"}, "names a folder"),
    ],
)
def test_what_cannot_run_fails_at_import(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        search(**changes)


@pytest.mark.parametrize("at", [(), (0,), (1.0,), (0.5, 0.5)])
def test_rungs_lie_inside_a_trial(at: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="fractions of the steps"):
        Pruning(at=at)


def test_a_search_is_a_function_of_its_seed_wherever_it_was_stopped(
    lab: Lab, tmp_path: Path, trial_record: Any, evaluate: Any
) -> None:
    course = lab.course(search())
    lab.go(course)
    assert len(course.points) == 14
    assert len(lab.ran) == len(set(lab.ran)) <= 14
    states = [state for _, state in told(course)]
    assert {"COMPLETE", "PRUNED"} <= set(states)

    stopped = Lab(tmp_path / "stopped", trial_record, evaluate)
    for most in (2, 5, 9, 99):  # every time in the middle of a generation
        again = stopped.course(search())
        stopped.go(again, most)
    assert told(again) == told(course)
    assert sorted(stopped.ran) == sorted(lab.ran)

    cached = lab.course(search())
    assert cached.todo() == []  # nothing left to run
    assert told(cached) == told(course)
    assert told(course) != told_with_seed(lab, 1)


def told_with_seed(lab: Lab, seed: int) -> list[tuple[dict[str, Any], str]]:
    course = lab.course(search(seed=seed))
    lab.go(course)
    return told(course)


def test_layers_that_mean_the_same_are_one_trial(lab: Lab) -> None:
    same = {"objective.fusion": "mean", "objective.mask_weight": 1.0}
    start = [same | {"objective.layers": "both"}, same | {"objective.layers": "even:2"}]
    four = nano.recipe(base=False, model=nano.SHAPE.model_copy(update={"layers": 4}))
    space = [
        Choice("objective.fusion", ["mean", "max"]),
        Choice("objective.layers", {"both": (1, 3), "even:2": "even:2"}),
        Float("objective.mask_weight", 0.1, 10),
    ]
    course = lab.course(search(start=start, budget=2, space=space), four)
    (only,) = course.todo()
    assert only.number == 0
    lab.go(course)
    assert len(lab.ran) == 1
    assert [(p.number, first.number) for p, first in course.repeats()] == [(1, 0)]
    assert course.answers[0] == course.answers[1]


def test_a_trial_that_failed_is_asked_once_a_run_and_again_the_next(lab: Lab) -> None:
    start = [{"objective.fusion": "add", "objective.layers": "last", "objective.mask_weight": 9.0}] * 2
    course = lab.course(search(start=start, budget=2))
    lab.go(course)
    assert [state for _, state in told(course)] == ["FAIL", "FAIL"]
    assert len(lab.ran) == 1
    assert lab.course(course.search, retry=False).todo() == []
    assert len(lab.course(course.search).todo()) == 1


@pytest.mark.fault(
    injection="points of a search fail by the store, or by a dead process", symptom="Optuna is told that they are bad",
    expected="right: tried again once, at the end of their generation", reference="F4",
)  # fmt: skip
@pytest.mark.parametrize("kind", [faults.LOST, faults.STORE])
def test_interrupted_points_run_again_once_when_their_generation_has_run(lab: Lab, kind: str) -> None:
    space = [Choice("objective.fusion", ["mean", "max", "add"])]
    start = [{"objective.fusion": fusion} for fusion in ("mean", "max", "add")]
    course = lab.course(search(space=space, start=start, budget=3, generation=3, pruning=None))
    lab.interruptions = {"mean": [kind], "max": [kind, kind, kind], "add": ["ValueError", "ValueError"]}
    first = [point.spec.trial_id for point in course.todo() if point.spec]
    said: list[str] = []
    proposals = Proposals(course, lambda spec: said.append(spec.arm), lambda spec: said.append(f"again {spec.arm}"))
    running: dict[str, Proposal] = {}
    for name in map(str, range(20)):  # as Tune asks and tells
        if (answer := proposals.suggest(name)) == Searcher.FINISHED:
            break
        if isinstance(answer, dict):
            running[name] = Proposal(0, {}, TrialSpec.model_validate_json(answer["spec"]))
            continue
        for started in list(running):
            lab.run(running.pop(started), None, None)
            proposals.on_trial_complete(started)
    assert lab.ran == [*first, *first[:2]]
    assert said == ["point 0", "point 1", "point 2", "again point 0", "point 0", "again point 1", "point 1"]
    assert [state for _, state in told(course)] == ["COMPLETE", "FAIL", "FAIL"]
    assert lab.interruptions == {"mean": [], "max": [kind], "add": ["ValueError"]}


def test_values_that_do_not_go_together_fail_alone(lab: Lab) -> None:
    heads = Choice("objective.chosen_heads", {"first": (0,), "third": (2,)})
    course = lab.course(search(space=[heads, Choice("model.heads", [2, 4])], budget=12))
    lab.go(course)
    failed = [p.params for p in course.points if course.answers[p.number].state == TrialState.FAIL]
    assert failed
    assert all(list(params.values()) == ["third", "2"] for params in failed)
    assert all("the model has 2 heads" in a.problem for a in course.answers.values() if a.state == TrialState.FAIL)
    assert len(lab.ran) == 3


def test_a_point_that_an_ablation_ran_costs_nothing(lab: Lab) -> None:
    course = lab.course(search(budget=1))
    (point,) = course.todo()
    lab.run(point, None, None)  # as an ablation does: no rungs, a record
    again = lab.course(search(budget=1))
    assert again.todo() == []
    assert again.answers[0].state == TrialState.COMPLETE
    assert again.answers[0].rungs == {}


def test_a_pruned_trial_is_answered_where_this_search_would_prune_it_and_else_run(lab: Lab) -> None:
    always = Pruning(at=(0.25, 0.5), clips=2, pruner=optuna.pruners.ThresholdPruner(lower=2.0))
    lab.go(lab.course(search(budget=2, pruning=always)))
    assert len(lab.ran) == 2
    assert lab.store.records() == {}
    assert len(lab.store.list_files("pruned")) == 2
    again = lab.course(search(budget=2, pruning=always))
    assert again.todo() == []
    assert {a.state for a in again.answers.values()} == {TrialState.PRUNED}
    for other in (None, Pruning(at=(0.25, 0.5), clips=2), Pruning(at=(0.25, 0.5), clips=3, pruner=always.pruner)):
        assert len(lab.course(search(budget=2, pruning=other)).todo()) == 2


@pytest.mark.parametrize(
    "pruner",
    [
        optuna.pruners.MedianPruner(n_startup_trials=2),
        optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=2),
    ],
    ids=["median", "halving"],
)
@pytest.mark.parametrize("higher", [True, False])
def test_optunas_rules_prune_the_worse_and_not_the_better(pruner: Any, higher: bool) -> None:
    sign = 1 if higher else -1
    earlier = tuple(
        EarlierTrial(state="COMPLETE", value=sign * v, rungs={3: sign * v / 2, 6: sign * v})
        for v in (0.2, 0.4, 0.6, 0.8)
    )
    gate = PruningContext(
        search="s",
        objective="attention.ap",
        suite="attention",
        higher_is_better=higher,
        steps=(3, 6),
        clips=2,
        earlier=earlier,
    )
    assert PrunerReplay(gate, pruner).stops(3, sign * 0.05)
    assert not PrunerReplay(gate, pruner).stops(3, sign * 0.9)
    late = PrunerReplay(gate, pruner)
    assert [late.stops(3, sign * 0.45), late.stops(6, sign * 0.3)][1] is True


def test_the_study_opens_in_optuna_and_the_page_shows_every_point(lab: Lab) -> None:
    declared = search(budget=20, confirm=(1, 2))
    lab.go(lab.course(declared))
    settings = Settings(store=lab.store.uri, cache=lab.cache)
    course = lab.course(declared)
    assert course.todo() == []
    for spec in run_search.confirmations(course, settings):
        lab.run(Proposal(-1, {}, spec), None, None)
    found = run_search.gather(declared, RECIPE, settings)

    log = Path(lab.store.uri) / optuna_study.path("nano", RECIPE.name)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    study = optuna.load_study(study_name="nano", storage=storage)
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MAXIMIZE"]
    assert [t.state for t in study.trials] == [a.state for _, a in found.points if a]
    assert [t.user_attrs["trial_id"] for t in study.trials] == [p.spec.trial_id for p, _ in found.points if p.spec]
    rungs = optuna.load_study(study_name="nano rungs", storage=storage)
    pruned = [t for t in rungs.trials if t.state == TrialState.PRUNED]
    assert pruned
    assert all(t.last_step in (3, 6) for t in pruned)

    page = search_page.write(found)
    html = page["index.html"]
    assert html.count("<svg") == 4
    assert "Which &lt;objective&gt; is best?" in html
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", html)
    for point, answer in found.points:
        assert point.spec is not None
        assert answer is not None
        assert point.spec.trial_id in html
        assert point.spec.trial_id in page["report.md"]
    assert html.count(">PRUNED</span>") == sum(a.state == TrialState.PRUNED for _, a in found.points if a)
    assert "on fresh seeds attention.ap" in page["report.md"]
    assert "Importance of each axis for validation.attention.ap" in page["report.md"]

    search_page.write_report(found)
    assert index_page.PAGE in found.store.list_files("reports")
    overview = found.store.read(index_page.PAGE).decode()
    assert 'href="nano/nano/index.html"' in overview
    assert "Which &lt;objective&gt; is best?" in overview
    assert "on fresh seeds attention.ap" in overview

    # A confirmation that started elsewhere is not paired with the others, and the page says so.
    first, *others = found.confirmed
    assert first.record is not None
    moved = replace(first, record=first.record.model_copy(update={"start_weights": "0" * 64}))
    mixed = replace(found, confirmed=(moved, *others))
    assert [[row.difference.n for row in search_findings.confirmed(one)] for one in (found, mixed)] == [[2, 2], [1, 1]]
    assert ["MIXED" in search_page.caveat(one) for one in (found, mixed)] == [False, True]


def test_a_search_that_has_just_begun_has_a_page(lab: Lab) -> None:
    found = run_search.gather(search(), RECIPE, Settings(store=lab.store.uri, cache=lab.cache))
    assert [answer for _, answer in found.points] == [None] * 4
    assert "14</b> not run" in search_page.write(found)["index.html"]
    assert isinstance(found.points[0], tuple)
    assert ProposalResult(TrialState.FAIL).trace.state == "FAIL"


def test_every_model_that_limits_the_rows_has_clips_of_its_own() -> None:
    axes = [Choice("model.path", ["a", "b"]), Float("objective.mask_weight", 0.1, 10)]
    read = search(recipe="qwen2.5-vl-7b", space=axes).readings(recipes.named("qwen2.5-vl-7b"))
    assert [recipe.model.path for recipe in read if isinstance(recipe.model, HubModel)] == ["a", "b"]
