import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from rich.console import Console

import nano
from swimlab import Ablation, Arm, Better, Metric, NotWorse, Paper, Trend
from swimlab.execution import run_ablations
from swimlab.experiment import protocol
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.report import markdown, terminal
from swimlab.report.evidence import evidence_index
from swimlab.report.summarise import summarise
from swimlab.store.errors import StoreError
from swimlab.store.sweep_store import SweepStore

CACHE = TemporaryDirectory(prefix="swimlab-test-protocol-")  # one for all tests: sources are parsed once
SETTINGS = Settings(cache=Path(CACHE.name))


def ablation(**changes):
    fields = {
        "name": "nano",
        "arms": [Arm("swim"), Arm("add", {"objective.fusion": "add"}), Arm("control", {"objective.mask_weight": 0})],
        "seeds": (0, 1, 2),
        "metrics": [Metric("attention.ap", primary=True), Metric("answer.accuracy")],
        "paper": Paper("Nano", claims=[Better("swim", "control"), NotWorse("add", "swim", 0.01)]),
        "recipe": "tiny-smoke",
    }
    return Ablation(**fields | changes)


def planned(changed=None, recipe=None, seeds=None):
    return make_plan(changed or ablation(), recipe or nano.recipe(base=False), SETTINGS, seeds)


@pytest.fixture
def commit(trial_record, evaluate):
    def write(store, specs):
        for trial_id, spec in {spec.trial_id: spec for spec in specs}.items():
            attempt = store.claim(trial_id)
            about = {"trial_id": trial_id, "attempt": attempt.number, "nonce": attempt.nonce, "recipe_name": "nano"}
            assert store.commit(attempt, trial_record(**about))
            evaluate(store, spec)

    return write


def test_the_first_protocol_says_what_will_be_tested_and_the_same_again_writes_nothing(tmp_path):
    store = SweepStore(str(tmp_path))
    standing = protocol.declare(planned(), store)
    (path,) = store.list_files("protocols")
    assert path == "protocols/nano/nano/0001.json"
    written = json.loads(store.read(path))
    assert written["hash"] == standing.history[0].hash
    assert written["results_before"] == 0
    declared = written["protocol"]
    assert declared["claims"]["add ≥ swim"]["margin"] == 0.01
    assert declared["arms"]["add"] == {"objective.fusion": "add"}
    assert (declared["seeds"], declared["alpha"]) == ([0, 1, 2], 0.05)
    assert declared["metrics"]["attention.ap"]["primary"]
    assert "budget" not in declared
    # The order of arms and claims, the prose and the paper's numbers mean nothing to a test.
    told = ablation(
        arms=ablation().arms[::-1], question="Why?", paper=Paper("T", {"add": 3.5}, ablation().paper.claims[::-1])
    )
    assert protocol.declare(planned(told, seeds=(2, 0, 1)), store) == standing
    # A smoke is a part of the protocol.
    smoke = protocol.declare(planned(seeds=(0,)), store)
    assert (smoke.history, smoke.part) == (standing.history, "1 of the 3 declared seeds")
    assert "this table shows 1 of the 3 declared seeds" in smoke.text
    assert store.list_files("protocols") == [path]
    assert "declared before any result" in standing.text
    assert not standing.amended


@pytest.mark.parametrize(
    ("changes", "recipe", "words"),
    [
        ({"seeds": range(8)}, {}, "seeds 3 → 8 (added 3, 4, 5, 6, 7)"),
        ({"seeds": (0, 5)}, {}, "seeds 3 → 2 (added 5; removed 1, 2)"),
        ({"arms": [*ablation().arms, Arm("max", {"objective.fusion": "max"})]}, {}, "arm max added"),
        (
            {"arms": [Arm("swim"), Arm("add", {"objective.fusion": "max"}), ablation().arms[2]]},
            {},
            "arm add: objective.fusion add → max",
        ),
        (
            {"paper": Paper("", claims=[Better("swim", "control", 0.01), NotWorse("add", "swim", 0.01)])},
            {},
            "claim swim > control: margin 0 → 0.01",
        ),
        ({"paper": Paper("", claims=[Better("swim", "control")])}, {}, "claim add ≥ swim removed"),
        (
            {"metrics": [Metric("attention.ap"), Metric("answer.accuracy", primary=True)]},
            {},
            "primary metric attention.ap → answer.accuracy",
        ),
        (
            {"metrics": [Metric("attention.ap", primary=True, higher_is_better=False), Metric("answer.accuracy")]},
            {},
            "metric attention.ap: lower is better now",
        ),
        ({}, {"steps": 6}, "recipe: optim.steps 4 → 6"),
    ],
)
def test_an_amendment_is_named_in_words_and_counts_the_results_before_it(tmp_path, commit, changes, recipe, words):
    store = SweepStore(str(tmp_path))
    before = planned()
    protocol.declare(before, store)
    commit(store, [spec for wave in before.waves for spec in wave][:2])
    after = planned(ablation(**changes), nano.recipe(base=False, **recipe))
    assert words in protocol.standing(after, store).undeclared
    standing = protocol.declare(after, store)
    assert len(standing.history) == 2
    last = standing.history[-1]
    assert (last.results_before, last.number) == (2, 2)
    assert words in last.changes
    assert f"amended after 2 results: {'; '.join(last.changes)}" in standing.text
    assert protocol.history(store, "nano", "nano") == standing.history
    # Going back is an amendment too, but for fewer seeds: those are a part of the same protocol.
    back = protocol.declare(before, store).history
    assert [entry.hash for entry in back[2:]] == ([] if "seeds 3 → 8" in words else [back[0].hash])


def test_going_back_to_fewer_seeds_is_a_part_of_the_protocol_and_said_to_be(tmp_path):
    store = SweepStore(str(tmp_path))
    protocol.declare(planned(), store)
    assert protocol.declare(planned(seeds=range(8)), store).history[-1].changes == (
        "seeds 3 → 8 (added 3, 4, 5, 6, 7)",
    )
    quick = protocol.declare(planned(), store)
    assert (len(quick.history), quick.undeclared, quick.part) == (2, (), "3 of the 8 declared seeds")
    assert protocol.standing(planned(), store) == quick
    assert protocol.standing(planned(seeds=range(8)), store).part == ""
    # Fewer seeds and another margin is another protocol.
    moved = planned(ablation(paper=Paper("", claims=[Better("swim", "control", 0.02)])))
    assert len(protocol.declare(moved, store).history) == 3


def test_the_arms_of_a_trend_and_a_budget_are_part_of_it(tmp_path):
    def clips(**values):
        arms = [Arm(name, {"data.clips": value}) for name, value in values.items()]
        return planned(ablation(arms=arms, paper=Paper("", claims=[Trend("clips")])))

    store = SweepStore(str(tmp_path))
    protocol.declare(clips(a=8, b=10, c=12), store)
    changes = protocol.declare(clips(a=8, b=10, c=12, d=14), store).history[-1].changes
    assert changes == ("arm d added", "claim rises along clips: compares a, b, c, d (before: a, b, c)")
    tuned = clips(a=8, b=10, c=12, d=14)
    object.__setattr__(tuned.ablation, "budget", {"trials": 20})
    assert protocol.declare(tuned, store).history[-1].changes == ("budget.trials = 20 added",)


def test_results_that_came_before_any_protocol_are_counted(tmp_path, commit):
    store = SweepStore(str(tmp_path))
    plan = planned()
    commit(store, [spec for wave in plan.waves for spec in wave][:1])
    assert "declared after 1 result " in protocol.declare(plan, store).text


def _declare(folder, margin):
    claims = [Better("swim", "control", margin)]
    return len(protocol.declare(planned(ablation(paper=Paper("", claims=claims))), SweepStore(folder)).history)


def test_drivers_at_once_write_one_first_protocol(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_declare, [str(tmp_path)] * 8, [0.0] * 8))
    assert SweepStore(str(tmp_path)).list_files("protocols") == ["protocols/nano/nano/0001.json"]


@pytest.mark.fault(
    injection="drivers declare different protocols at the same moment",
    symptom="a declaration is overwritten",
    expected="right: each has its number",
)
def test_different_protocols_at_once_queue_up_and_none_is_lost(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_declare, [str(tmp_path)] * 4, [margin / 100 for margin in range(4)]))
    entries = protocol.history(SweepStore(str(tmp_path)), "nano", "nano")
    assert [entry.number for entry in entries] == [1, 2, 3, 4]
    assert len({entry.hash for entry in entries}) == 4


@pytest.mark.fault(
    injection="a declared margin is altered afterwards, or its file deleted",
    symptom="verdicts are judged by another protocol than was declared",
    expected="error names the protocol",
)
def test_a_protocol_that_was_altered_or_is_gone_is_refused(tmp_path):
    store = SweepStore(str(tmp_path))
    protocol.declare(planned(), store)
    protocol.declare(planned(ablation(seeds=(0, 1, 2, 3))), store)
    first = tmp_path / "protocols/nano/nano/0001.json"
    text = first.read_text()
    first.write_text(text.replace('"margin":0.01', '"margin":0.02'))
    with pytest.raises(StoreError, match=r"0001\.json is not what was declared"):
        protocol.history(store, "nano", "nano")
    first.unlink()
    with pytest.raises(StoreError, match="protocol 1 of nano on nano is gone"):
        protocol.history(store, "nano", "nano")
    first.write_text("{}")
    with pytest.raises(StoreError, match="no protocol of schema"):
        protocol.history(store, "nano", "nano")
    with pytest.raises(StoreError, match="recipe name 'a b'"):
        protocol.history(store, "nano", "a b")


def test_a_run_declares_before_it_trains_and_the_table_says_how_it_stands(tmp_path, commit, monkeypatch):
    settings = Settings(store=str(tmp_path), cache=tmp_path / "cache")
    store = SweepStore(str(tmp_path))

    def train(ground, waves, measured):
        assert store.list_files("protocols"), "a trial began before its protocol was written"
        commit(store, [spec for wave in waves for spec in wave])
        return []

    monkeypatch.setattr(run_ablations, "_train", train)
    monkeypatch.setattr(run_ablations, "_prepare", lambda ground, waves: None)
    monkeypatch.setattr("swimlab.execution.session.run_session", lambda store, settings, console: nullcontext())
    plan = planned(recipe=nano.recipe(base=False))
    table = summarise(run_ablations.execute([plan], settings, Console(quiet=True))[0])
    assert "declared before any result" in terminal.render_terminal(table)
    assert table.protocol.history[0].hash in markdown.render_markdown(table, evidence_index(table))
    # Nothing to run, yet the margin moved after all nine results: an amendment all the same.
    moved = planned(ablation(paper=Paper("", claims=[Better("swim", "control", 0.02)])))
    shown = summarise(run_ablations.gather(moved, store, 0.0))
    assert "changed since and not declared" in terminal.render_terminal(shown, width=400)
    table = summarise(run_ablations.execute([moved], settings, Console(quiet=True))[0])
    assert "amended after 9 results: claim add ≥ swim removed; claim swim > control: margin 0 → 0.02" in (
        terminal.render_terminal(table, width=400)
    )
    assert replace(table.protocol, history=()).text == "no protocol was declared"
