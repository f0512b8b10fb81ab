"""Tuned axes: one budget for every arm, on a seed of its own; declared, resumable, told, never in the table."""

import re
from pathlib import Path
from typing import Any

import pytest
from store_kit import all_results

import nano
from swim.recipe import Recipe
from swimlab import Ablation, Arm, Better, Choice, Float, Metric, Paper, Tuned
from swimlab.cli import experiment_file, plan_view
from swimlab.execution import cluster, run_ablations, tune_arms
from swimlab.execution.search import optuna_study
from swimlab.execution.search.ask_tell import SearchLoop
from swimlab.experiment import protocol
from swimlab.experiment.plan import Plan, make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.trial_spec import name_trial
from swimlab.report import ablation_page
from swimlab.report.summarise import Table, summarise
from swimlab.stats.verdicts import Verdict
from swimlab.store.sweep_store import SweepStore

LR = Float("optim.lr", 5e-4, 4e-3, log=True)


def ablation(**changes: Any) -> Ablation:
    fields: dict[str, Any] = {
        "name": "nano",
        "arms": [Arm("swim"), Arm("Control", {"objective.mask_weight": 0})],
        "seeds": (0,),
        "metrics": [Metric("attention.ap", primary=True)],
        "paper": Paper("Nano", claims=[Better("swim", "Control")]),
        "recipe": "tiny-smoke",
        "tuned": Tuned(space=[LR], budget=6, seed=100),
    }
    return Ablation(**fields | changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seeds": (0, 100)}, "tuned on seed 100, which is also one of its seeds"),
        ({"arms": [Arm("a"), Arm("b", {"optim.lr": 1e-3})]}, "arm 'b' sets 'optim.lr', and 'optim.lr' is tuned"),
        ({"arms": [Arm("a", {"optim": {"lr": 1e-3}})]}, "arm 'a' sets 'optim', and 'optim.lr'"),
        (
            {
                "arms": [Arm("a", preset="official-code")],
                "tuned": Tuned([Choice("objective.mask_loss", ["bce", "dice"])], 4, 100),
            },
            "arm 'a' sets 'objective.mask_loss'",
        ),
        ({"tuned": Tuned([Float("optim.lrr", 1, 2)], 4, 100)}, "optim.lr"),
        ({"tuned": Tuned([Float("optim.lr", -1, 2)], 4, 100)}, "greater than 0"),
        ({"tuned": Tuned([], 4, 100)}, "axes over paths"),
        ({"tuned": Tuned([Float("seed", 0, 2)], 4, 100)}, "may not search 'seed'"),
    ],
)
def test_what_cannot_be_tuned_fails_at_import(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        ablation(**{"paper": Paper("")} | changes)


@pytest.mark.parametrize(
    ("space", "budget", "says"),
    [
        ([LR], 1, "nothing is chosen"),
        ([Float("data.fraction", 0.5, 1)], 4, "may not choose data.fraction"),
        (
            [Float("evaluation.attention.precision_threshold", 0.1, 0.9)],
            4,
            "may not choose evaluation.attention.precision_th",
        ),
    ],
)
def test_what_arms_share_is_not_tuned(space: list[Float], budget: int, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Tuned(space, budget, 100)


class Lab:
    """A store in which points of tuning get planted results: `score(arm, lr)`, None for a failure."""

    def __init__(self, folder: Path, trial_record: Any, evaluate: Any) -> None:
        self.settings = Settings(store=str(folder / "store"), cache=folder / "cache")
        self.store, self._record, self._evaluate = SweepStore(self.settings.store), trial_record, evaluate
        self.recipe: Recipe = nano.recipe(base=False)

    def plan(self, declared: Ablation | None = None, seeds: tuple[int, ...] | None = None) -> Plan:
        tuned = declared or ablation()
        states = tune_arms.tuning_states(tuned, self.recipe, self.settings)
        return make_plan(tuned, self.recipe, self.settings, seeds, tuning=states)

    def commit(self, spec: Any, ap: float | None) -> None:
        attempt = self.store.claim(spec.trial_id)
        assert attempt is not None
        if ap is None:
            attempt.fail("diverged", "RuntimeError")
            return
        record = self._record(
            trial_id=spec.trial_id,
            attempt=attempt.number,
            nonce=attempt.nonce,
            seed=spec.seed,
            recipe=spec.recipe.training(),
            recipe_name="nano",
            metrics={},
        )
        assert self.store.commit(attempt, record)
        self._evaluate(self.store, spec, {"attention.ap": ap})

    def tune(self, score: Any, most: int = 99, arms: tuple[str, ...] = ("swim", "Control")) -> list[Any]:
        """Answers up to `most` points of each of `arms`; returns what ran."""
        declared, ran = ablation(), []
        assert declared.tuned is not None
        for arm in (a for a in declared.arms if a.name in arms):
            own = declared.resolve(self.recipe, arm, 100)
            course = SearchLoop(
                declared.tuned.search(declared.name, declared.primary, declared.recipe, arm.name),
                own,
                self.store,
                self.settings.cache,
                retry=False,
            )
            left = most
            while left and (todo := course.todo()):
                for point in todo[:left]:
                    self.commit(point.spec, score(arm.name, point.params["optim.lr"]))
                    ran.append(point.spec.recipe)
                    left -= 1
        return ran


@pytest.fixture
def lab(tmp_path: Path, trial_record: Any, evaluate: Any) -> Lab:
    return Lab(tmp_path, trial_record, evaluate)


def best_at(swim: float, control: float) -> Any:
    """Scores that are best near these learning rates."""
    return lambda arm, lr: 1 - abs(lr - (swim if arm == "swim" else control)) * 100


def said(lab: Lab, plan: Plan) -> str:
    return " ".join("\n".join(plan_view.lines(plan_view.preview(plan, lab.store, lab.settings))).split())


def table_of(lab: Lab, plan: Plan) -> Table:
    return summarise(run_ablations.gather(plan, lab.store, 0.0))


def test_nothing_is_planned_reported_or_guessed_before_it_is_tuned(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = lab.plan()
    assert (empty.arms, empty.waves) == ((), ())
    text = said(lab, empty)
    assert "tuning 6 points an arm of optim.lr 0.0005…0.004 (log), on seed 100; 0 of 12 answered" in text
    assert "swim: 0 of 6 points answered: not planned yet" in text
    lab.tune(best_at(1e-3, 3e-3), arms=("swim",))
    lab.tune(best_at(1e-3, 3e-3), most=3, arms=("Control",))
    half = lab.plan()
    assert [planned.arm for planned, _ in half.arms] == ["swim"]
    text = said(lab, half)
    assert "9 of 12 answered" in text
    assert "Control: 3 of 6 points answered: not planned yet" in text
    assert "not the tuning itself" in text
    table = table_of(lab, half)
    assert table.claims[0].outcome.verdict == Verdict.NOT_RUN
    assert "Control: 3 of 6 points answered: not planned yet" in table.caveat
    assert [len(row.trials) for row in table.rows] == [1, 0]
    with pytest.raises(SystemExit) as ended:
        experiment_file.run([ablation()], lab.settings.model_copy(update={"command": "report"}), lambda: lab.recipe)
    assert ended.value.code == 1
    assert "Control has no tuned values: 3 of 6 points answered" in capsys.readouterr().out
    page = lab.store.read("reports/nano/nano/index.html").decode()
    assert "(tuned)" in page
    assert "not planned yet" in page


def test_every_arm_gets_the_same_points_to_begin_with_and_its_own_best(lab: Lab) -> None:
    ran = lab.tune(best_at(1e-3, 3e-3))
    assert [recipe.seed for recipe in ran] == [100] * 12
    rates = [recipe.optim.lr for recipe in ran]
    assert rates[:2] == rates[6:8]  # the same sampler, the same seed: what is random is alike
    plan = lab.plan(seeds=(0, 1))
    by_arm = {planned.arm: spec.recipe.optim.lr for planned, spec in plan.arms}
    assert by_arm["swim"] == min(rates[:6], key=lambda lr: abs(lr - 1e-3))
    assert by_arm["Control"] == min(rates[6:], key=lambda lr: abs(lr - 3e-3))
    assert by_arm["swim"] != by_arm["Control"]
    assert [(planned.arm, spec.seed, spec.recipe.objective.mask_weight) for planned, spec in plan.arms] == [
        ("swim", 0, 1), ("swim", 1, 1), ("Control", 0, 0), ("Control", 1, 0),
    ]  # fmt: skip
    assert not {spec.trial_id for _, spec in plan.arms} & set(lab.store.records())  # tuned on other trials
    for _, spec in plan.arms:
        lab.commit(spec, 0.5)
    results = run_ablations.gather(plan, lab.store, 0.0)
    table = summarise(results)
    assert table.trials_done == len(table.trials) == 4
    assert table.seeds == (0, 1)
    assert dict(table.rows[0].tuned) == {"optim.lr": by_arm["swim"]}
    assert f"swim: optim.lr = {by_arm['swim']:.4g}, the best of 6 points; Control: " in table.caveat
    page = ablation_page.write(results, summarise(results))["index.html"]
    assert page.count("(tuned)</small>") == 2
    with pytest.raises(ValueError, match="tuned on seed 100"):
        lab.plan(seeds=tuple(range(101)))


def test_a_failed_point_is_a_spent_one_and_an_arm_of_failures_is_not_planned(lab: Lab) -> None:
    lab.tune(lambda arm, lr: None if arm == "Control" or lr > 2e-3 else lr)
    swim, control = lab.plan().tuning
    assert swim.answered == control.answered == 6
    assert 0 < swim.failed < 6
    assert swim.choice is not None
    assert f"the best of 6 points ({swim.failed} failed)" in swim.text
    assert (control.choice, control.text) == (None, "all 6 points failed: cannot be planned")
    assert {planned.arm for planned, _ in lab.plan().arms} == {"swim"}


def test_the_protocol_has_space_budget_and_seed_and_tuning_amends_nothing(lab: Lab) -> None:
    before = protocol.declare(lab.plan(seeds=(0, 1)), lab.store)
    tuned = before.history[0].protocol["tuned"]
    assert (tuned["budget"], tuned["seed"], tuned["space"]["optim.lr"]["high"]) == (6, 100, 4e-3)
    assert tuned["chosen_on"] == "validation"
    lab.tune(best_at(1e-3, 3e-3))
    after = protocol.declare(lab.plan(seeds=(0, 1)), lab.store)
    assert after.history == before.history
    assert not after.amended
    more = ablation(tuned=Tuned([LR], 8, 100))
    amended = protocol.declare(lab.plan(more, seeds=(0, 1)), lab.store)
    assert "tuned.budget 6 → 8" in amended.text
    assert amended.history[-1].results_before >= 6  # whoever saw the points had results


def test_the_reported_clips_choose_no_value(lab: Lab) -> None:
    """Of the same trials the reported clips say the opposite."""
    for recipe in lab.tune(best_at(1e-3, 3e-3)):
        arm = "swim" if recipe.objective.mask_weight else "Control"
        reported = name_trial(arm, recipe, lab.settings.cache)
        lab._evaluate(lab.store, reported, {"attention.ap": 1 - best_at(1e-3, 3e-3)(arm, recipe.optim.lr)})
    plan = lab.plan()
    rates = {arm: [] for arm in ("swim", "Control")}  # of the points, in their order
    for state in plan.tuning:
        rates[state.arm] = [lab.store.records()[trial_id].recipe["optim"]["lr"] for trial_id in state.trial_ids]
        assert state.choice is not None
    assert plan.tuning[0].choice == {"optim.lr": min(rates["swim"], key=lambda lr: abs(lr - 1e-3))}
    assert plan.tuning[1].choice == {"optim.lr": min(rates["Control"], key=lambda lr: abs(lr - 3e-3))}
    text = table_of(lab, plan).caveat
    assert "by attention.ap on validation clips, which no number of this table is of" in text
    chosen = 1 - min(abs(rate - 1e-3) for rate in rates["swim"]) * 100
    assert f"the best of 6 points ({chosen:.3f} on validation clips, {1 - chosen:.3f} on the reported ones)" in text
    assert "chosen on validation clips, which are neither trained on nor reported" in said(lab, plan)


def test_a_protocol_from_before_is_amended(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        content = protocol.content
        older.setattr(protocol, "content", lambda plan: _as_before(content(plan)))
        protocol.declare(lab.plan(), lab.store)
    amended = protocol.declare(lab.plan(), lab.store)
    assert "amended after 0 results" in amended.text
    assert "tuned.chosen_on = validation added" in amended.text
    assert "validation.swim = " in amended.text


def _as_before(declared: dict[str, Any]) -> dict[str, Any]:
    """A protocol of when tuning chose on the reported clips."""
    tuned = {name: value for name, value in declared["tuned"].items() if name != "chosen_on"}
    return {name: value for name, value in declared.items() if name != "validation"} | {"tuned": tuned}


@pytest.mark.ray
@pytest.mark.timeout(300)
def test_arms_are_tuned_then_run_and_the_store_answers_the_next_time(
    two_cpus: None, lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.recipe = nano.recipe(base=False, steps=2)
    declared = ablation(tuned=Tuned([LR], budget=2, seed=100))

    def run() -> int:
        with pytest.raises(SystemExit) as ended:
            experiment_file.run([declared], lab.settings.model_copy(update={"concurrency": 1}), lambda: lab.recipe)
        return int(ended.value.code or 0)

    assert run() == 0
    assert all(state.scores is not None for state in lab.plan(declared).tuning)  # the chosen points were also measured
    records = all_results(lab.store).values()
    assert sorted(record.seed for record in records) == [0, 0, 100, 100, 100, 100]
    for weight in (0, 1):
        mine = [r for r in records if r.recipe["objective"]["mask_weight"] == weight]
        points = [r for r in mine if r.seed == 100]
        best = max(r.metrics["validation.attention.ap"] for r in points)
        (reported,) = [r for r in mine if r.seed == 0]
        assert not any(name.startswith("validation.") for name in reported.metrics)
        chosen = {r.recipe["optim"]["lr"] for r in points if r.metrics["validation.attention.ap"] == best}
        assert reported.recipe["optim"]["lr"] in chosen
    (study,) = [path for path in lab.store.list_files("studies") if "tuning-swim" in path]
    assert study == optuna_study.path("nano-tuning-swim", "nano")
    assert "declared before any result" in protocol.standing(lab.plan(declared), lab.store).text
    assert "2 of 2 trials cached" not in capsys.readouterr().out
    monkeypatch.setattr(cluster, "ray_session", lambda: pytest.fail("a cached run started Ray"))
    lab.store.backend.delete(study)
    assert run() == 0
    assert "2 of 2 trials cached, 0 to run" in capsys.readouterr().out
    assert lab.store.exists(study)
    assert len(lab.store.records()) == 6
