"""Tables with looks: what is planned at each, how a run goes on, and what report, plan and pages show of it."""

import io
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import store_kit
from rich.console import Console

import nano
from swim import recipes
from swimlab import Ablation, Arm, Better, Float, Metric, NotWorse, Paper, Tuned
from swimlab.cli import looks_view, plan_view
from swimlab.execution import run_ablations
from swimlab.execution.tune_arms import tuning_states
from swimlab.experiment import looks, protocol, run_manifest
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.report import ablation_page, terminal
from swimlab.report.summarise import summarise
from swimlab.stats.power import detectable_in_sds
from swimlab.stats.verdicts import Verdict
from swimlab.store.sweep_store import SweepStore
from synthetic_results import committed

# swim > control is clear at 4 seeds, swim > add is not; nothing is claimed about pool.
AP = {"swim": 0.6, "add": 0.59, "control": 0.1, "pool": 0.5}
NOISE = {"swim": (0.01, -0.01, 0.02, 0.0), "add": (-0.02, 0.02, 0.0, 0.01)}
ARMS = [
    Arm("swim"),
    Arm("add", {"objective.fusion": "add"}),
    Arm("control", {"objective.mask_weight": 0}),
    Arm("pool", {"objective.fusion": "max"}),
]


def ablation(**changes):
    fields = {
        "name": "looked",
        "arms": ARMS,
        "looks": (4, 8),
        "metrics": [Metric("attention.ap", primary=True), Metric("answer.accuracy")],
        "paper": Paper("Looked at", claims=[Better("swim", "control"), Better("swim", "add")]),
        "recipe": "tiny-smoke",
    }
    return Ablation(**fields | changes)


def ap(arm, seed):
    return AP[arm] + NOISE.get(arm, (0.003, 0.0, -0.003, 0.001))[seed % 4]


@pytest.fixture
def lab(tmp_path, trial_record, evaluate, monkeypatch):
    """Settings of a store in which `run` commits planted numbers instead of training."""
    settings = Settings(store=str(tmp_path / "store"), cache=tmp_path / "cache")
    store = SweepStore(settings.store)

    def train(session, waves, measured):
        for spec in (spec for wave in waves for spec in wave):
            store_kit.committed(store, trial_record, spec.trial_id, recipe_name="nano")
            evaluate(store, spec, {"attention.ap": ap(spec.arm, spec.seed), "answer.accuracy": 0.5})
        return []

    monkeypatch.setattr(run_ablations, "_train", train)
    monkeypatch.setattr(run_ablations, "_prepare", lambda session, waves: None)
    monkeypatch.setattr("swimlab.execution.session.run_session", lambda store, settings, console: nullcontext())
    return settings


def planned(settings, table=None, seeds=None):
    return make_plan(table or ablation(), nano.recipe(base=False), settings, seeds)


def seeds_by_arm(trials):
    seeds = {}
    for trial in trials:
        seeds.setdefault(trial.arm, []).append(trial.seed)
    return seeds


def test_a_run_goes_on_by_itself_with_what_is_undecided(lab):
    screen = io.StringIO()
    (results,) = run_ablations.execute([planned(lab)], lab, Console(file=screen, width=200))
    assert {arm: len(seeds) for arm, seeds in seeds_by_arm(results.trials).items()} == {
        "swim": 8,
        "add": 8,
        "control": 4,
        "pool": 2,
    }
    assert "looked: on to look 2" in screen.getvalue()
    table = summarise(results)
    clear, unsure = (claim.outcome for claim in table.claims)
    assert (clear.verdict, clear.look, clear.interval.n) == (Verdict.REPRODUCED, 1, 4)
    assert (unsure.verdict, unsure.next_look, unsure.interval.n) == (Verdict.UNDERPOWERED, None, 8)
    assert not table.problems
    assert "declared seeds" not in table.protocol.text
    again = io.StringIO()
    run_ablations.execute([planned(lab)], lab, Console(file=again, width=200))
    assert "14 of 14 trials cached, 0 to run" in again.getvalue()
    assert "22 of 22 trials cached, 0 to run" in again.getvalue()


def test_looks_1_stops_after_the_first_and_the_report_shows_it_until_the_next_is_begun(lab):
    first = lab.model_copy(update={"looks": 1})
    (results,) = run_ablations.execute([planned(lab)], first, Console(quiet=True))
    assert len(results.trials) == 14
    store = SweepStore(lab.store)
    reported = run_ablations.at_latest_look(planned(lab), store, lab)
    assert len(reported.trials) == 14
    table = summarise(reported)
    assert "look 2 of 2, at 8 seeds" in table.claims[1].outcome.reason
    assert not table.problems
    # What `plan` calls certain is what `run` does next: the open claim's arms, and no more of the others.
    second = looks_view.certain(planned(lab), store, lab)
    assert second.look == 2
    assert len(second.arms) == 22
    assert looks_view.certain(planned(lab), store, first).look == 1
    run_ablations.execute([planned(lab)], lab, Console(quiet=True))
    assert len(run_ablations.at_latest_look(planned(lab), store, lab).trials) == 22
    assert len(run_ablations.at_latest_look(planned(lab), store, first).trials) == 14


def test_no_claim_goes_on_while_another_waits_for_trials_of_this_look(lab):
    plan = looks.first_look(planned(lab))
    run_ablations.execute([planned(lab)], lab.model_copy(update={"looks": 1}), Console(quiet=True))
    results = run_ablations.gather(plan, SweepStore(lab.store), 0.0)
    assert looks.following(plan, results).look == 2
    without_control = tuple(replace(t, record=None) if t.arm == "control" else t for t in results.trials)
    assert looks.following(plan, replace(results, trials=without_control)) is None
    failed = tuple(replace(t, failure="loss is nan") if t.arm == "control" else t for t in without_control)
    assert looks.following(plan, replace(results, trials=failed)).look == 2


def test_plan_prints_what_is_certain_and_what_a_look_adds_at_most(lab):
    store = SweepStore(lab.store)
    view = plan_view.preview(looks_view.certain(planned(lab), store, lab), store, lab)
    text = "\n".join(plan_view.lines(view))
    assert "14 to run" in text
    assert "claims are judged at 4 and 8 seeds, at α = 2.5 % each; above is look 1" in text
    assert "look 2 adds at most 12 trials" in text
    assert "4 seeds find a difference of" in text
    run_ablations.execute([planned(lab)], lab, Console(quiet=True))
    done = plan_view.preview(looks_view.certain(planned(lab), store, lab), store, lab)
    assert "all of its trials are there: no claim is left open for a later one" in "\n".join(plan_view.lines(done))


def test_plan_says_which_arms_have_no_trials_before_they_are_tuned(lab):
    tuned = Tuned(space=[Float("optim.lr", 1e-4, 1e-2, log=True)], budget=2, seed=100)
    store = SweepStore(lab.store)
    table = ablation(tuned=tuned)
    recipe = recipes.named(table.recipe)
    states = tuning_states(table, recipe, lab)
    plan = make_plan(table, recipe, lab, tuning=states)
    text = "\n".join(looks_view.lines(looks_view.certain(plan, store, lab), {}, lab))
    assert "of arms that are to be tuned first: swim, add, control, pool" in text
    assert "all of its trials are there" not in text


def test_watch_gives_no_verdict_before_a_look_has_all_its_trials(lab):
    claims = [Better("swim", "control"), Better("swim", "control", metric="answer.accuracy")]
    plan = looks.first_look(planned(lab, ablation(paper=Paper("Watched", claims=claims))))
    store = SweepStore(lab.store)
    run_manifest.announce(plan, store, plan.trial_ids)
    (manifest,) = run_manifest.announcements(store)
    assert [claim.text for claim in manifest.claims] == ["swim > control", "swim > control in answer.accuracy"]
    rows = {
        trial.trial_id: {"seed": trial.seed, "attention.ap": ap(trial.arm, trial.seed), "answer.accuracy": 0.5}
        for trial in manifest.trials
    }
    assert [label for _, label, _, _ in run_manifest.judged(manifest, rows)] == ["REPRODUCED", "EQUIVALENT"]
    partly = {trial_id: row for trial_id, row in rows.items() if row["seed"] < 3}
    judged = run_manifest.judged(manifest, partly)
    assert [label for _, label, _, _ in judged] == ["UNDERPOWERED", "UNDERPOWERED"]
    assert judged[0][2] == pytest.approx(sum(ap("swim", s) - ap("control", s) for s in range(3)) / 3)


def test_the_protocol_declares_the_looks_and_a_look_is_a_part_of_it(lab):
    store, plan = SweepStore(lab.store), planned(lab)
    first = protocol.declare(looks.first_look(plan), store)
    assert first.history[0].protocol["looks"] == {"at": [4, 8], "alpha_each": 0.025}
    assert first.history[0].protocol["seeds"] == list(range(8))
    assert first.part == "4 of the 8 declared seeds"
    assert protocol.declare(plan, store).history == first.history
    # Without looks nothing is declared of them, so that older protocols stand.
    assert "looks" not in protocol.content(planned(lab, ablation(looks=(), seeds=range(8))))
    moved = protocol.declare(planned(lab, ablation(looks=(3, 8))), store)
    assert "looks.at [4, 8] → [3, 8]" in moved.history[1].text
    known = protocol.declare(planned(lab, ablation(futility=0.1)), store)
    assert "looks.futility = 0.1 added" in known.history[2].text


def test_arms_with_the_same_trials_are_the_same_whatever_the_number_of_their_seeds(lab):
    arms = [*ARMS[:3], Arm("swim again")]
    plan = looks.first_look(planned(lab, ablation(arms=arms)))
    assert {arm: len(s) for arm, s in seeds_by_arm(p for p, _ in plan.arms).items()}["swim again"] == 2
    assert plan.shared["swim again"] == "swim"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"looks": (4, 4)}, "must rise"),
        ({"looks": (1, 8)}, "2 seeds or more"),
        ({"looks": (4,), "seeds": range(8)}, "all 8 of its seeds"),
        ({"looks": (2,), "seeds": (1, 0)}, "must rise"),
        ({"paper": Paper("No claim")}, "no claim that they could decide"),
        ({"futility": 1.5}, "is a chance"),
        ({"looks": (), "seeds": (0, 1), "futility": 0.1}, "needs looks"),
        ({"paper": Paper("", claims=[Better("swim", "add", metric="answer.acuracy")])}, "answer.accuracy"),
    ],
)
def test_what_cannot_be_judged_is_refused_at_import(changes, message):
    with pytest.raises(ValueError, match=message):
        ablation(**changes)


def test_seeds_beyond_the_last_look_are_refused(lab):
    looks.check_seeds(planned(lab, seeds=range(3)))
    with pytest.raises(ValueError, match="Declare another look"):
        looks.check_seeds(planned(lab, seeds=range(9)))


CLAIMS = [
    Better("swim", "add"),
    NotWorse("add", "swim", margin=0.1, metric="answer.accuracy", margin_source="the SD over four bases was .03"),
    Better("swim", "control", metric="answer.accuracy"),
]


def test_claims_about_another_metric_are_a_family_of_their_own(lab, tmp_path):
    table = ablation(looks=(), seeds=range(4), paper=Paper("Two", claims=CLAIMS))
    declared = protocol.content(planned(lab, table))["claims"]
    assert declared["add ≥ swim in answer.accuracy"]["metric"] == "answer.accuracy"
    assert declared["add ≥ swim in answer.accuracy"]["margin_source"] == "the SD over four bases was .03"
    assert set(declared["swim > add"]) == {"kind", "margin", "contrast"}

    def metrics(arm, seed):
        return {"attention.ap": ap(arm, seed), "answer.accuracy": ap(arm, seed) / 2}

    results = committed(table, tmp_path / "results", metrics, steps=0, nouns=())
    shown = summarise(results)
    assert shown.families == {"attention.ap": (0,), "answer.accuracy": (1, 2)}
    only = replace(table, paper=Paper("", claims=CLAIMS[:1]))
    alone = summarise(committed(only, tmp_path / "alone", metrics, steps=0, nouns=()))
    assert shown.claims[0].outcome.p_holm == alone.claims[0].outcome.p_holm
    assert shown.claims[2].outcome.evidence.differences == pytest.approx(
        tuple((ap("swim", s) - ap("control", s)) / 2 for s in range(4))
    )
    page = ablation_page.write(results, shown)
    assert "the SD over four bases was .03" in page["index.html"]
    assert page["index.html"].count('<tr class="family">') == 2
    assert "swim &gt; control in answer.accuracy" in page["report.md"]
    assert "swim > control in answer.accuracy" in " ".join(terminal.render_terminal(shown, width=200).split())


def test_a_claim_about_a_metric_that_no_suite_measures_is_refused_before_any_work(lab):
    metrics = [Metric("attention.ap", primary=True), Metric("described.avg")]
    claims = [Better("swim", "add", metric="described.avg")]
    with pytest.raises(ValueError, match=r"'described.avg', the metric of claim 'swim > add'.*is not measured"):
        planned(lab, ablation(metrics=metrics, paper=Paper("", claims=claims)))


def test_a_claim_about_attention_stands_under_both_readings_where_both_are_recorded(tmp_path):
    table = ablation(looks=(), seeds=range(4))

    def metrics(arm, seed):
        own = {"attention_own.ap": 0.9 if arm == "swim" else 0.7} if arm != "control" else {}
        return {"attention.ap": ap(arm, seed), "answer.accuracy": 0.5} | own

    results = committed(table, tmp_path, metrics, steps=0, nouns=())
    shown = summarise(results)
    assert [claim.own and claim.own.interval.mean for claim in shown.claims] == [None, pytest.approx(0.2)]
    assert "reads the very layers that every supervised arm is trained in" in shown.caveat
    page = ablation_page.write(results, shown)
    assert "own reading" in page["index.html"]
    assert "by the arms' own reading +0.200 ± 0.000 §" in page["report.md"]


def test_the_a_a_row_says_what_it_could_have_noticed(tmp_path):
    drawn = np.random.default_rng(3).normal(0.5, 0.01, 8)
    table = ablation(looks=(), seeds=range(8))
    shown = summarise(committed(table, tmp_path, lambda arm, seed: {"attention.ap": drawn[seed]}, steps=0, nouns=()))
    sd = np.std(drawn[:4] - drawn[4:], ddof=1)
    assert shown.self_test.noticeable == pytest.approx(sd * detectable_in_sds(4))
    assert f"one of {shown.self_test.noticeable:.3f} it would have noticed 4 times in 5" in shown.self_test.text
