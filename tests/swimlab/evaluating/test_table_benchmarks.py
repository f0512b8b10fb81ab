"""A table whose metrics are a benchmark's: planned, asked, judged, and shown, with trials that are in the store."""

import dataclasses
import io
import json
import re
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import bench_files
import pytest
from answering_kit import commit_trial, prepare_here
from bench_lab import judging
from llm_server import Model, Reply, completion
from rich.console import Console
from store_kit import evaluated_as_planned, plausible_record

import nano
from swimlab import Ablation, Arm, Better, Metric, Paper
from swimlab.cli import benchmark_view
from swimlab.evaluating import answering, table_benchmarks, table_judge
from swimlab.execution import run_ablations
from swimlab.experiment import protocol
from swimlab.experiment.benchmark_suites import BenchmarkSuite
from swimlab.experiment.plan import Plan, make_plan
from swimlab.experiment.results import Results
from swimlab.experiment.run_settings import FlagError, Settings
from swimlab.identity.naming import IdentityError
from swimlab.report.summarise import summarise
from swimlab.report.terminal import render_terminal
from swimlab.store.sweep_store import SweepStore

TABLE = Ablation(
    name="bench",
    arms=[Arm("swim"), Arm("control", {"objective.mask_weight": 0})],
    seeds=(0, 1),
    metrics=[Metric("bench_d.avg", primary=True), Metric("attention.ap")],
    paper=Paper("Bench", rows={"swim": 3.8, "control": 3.5}, claims=[Better("swim", "control")], recipe="nano"),
    benchmarks=(BenchmarkSuite("bench-d", max_new_tokens=5),),
)
# Fewer trials, where more would show nothing else.
TWO = dataclasses.replace(TABLE, seeds=(0,))
ONE = dataclasses.replace(TABLE, arms=TABLE.arms[:1], seeds=(0,), paper=Paper(""))
BOTH = dataclasses.replace(
    TABLE,
    metrics=[*TABLE.metrics, Metric("bench_q.avg")],
    benchmarks=(*TABLE.benchmarks, BenchmarkSuite("bench-q", "letter", 5)),
)


@dataclass(frozen=True)
class Lab:
    """A store with the table's trials, and the flags that name both benchmarks."""

    settings: Settings
    store: SweepStore

    def plan(self, table: Ablation = TABLE, **flags: Any) -> Plan:
        return make_plan(table, nano.recipe(base=False), self.settings.model_copy(update=flags))

    def run(self, table: Ablation = TABLE, **flags: Any) -> Results:
        settings = self.settings.model_copy(update=flags)
        console = Console(file=io.StringIO(), width=200)
        measure = partial(table_benchmarks.with_benchmarks, settings=settings, console=console)
        if settings.command == "report":
            return run_ablations.at_latest_look(self.plan(table, **flags), self.store, settings, measure)
        return run_ablations.execute([self.plan(table, **flags)], settings, console, measure)[0]

    def planned(self, **flags: Any) -> str:
        """What `plan` says of the benchmarks."""
        settings, plan = self.settings.model_copy(update=flags), self.plan(**flags)
        records = self.store.read_records(plan.trial_ids)
        ids = [spec.trial_id for _, spec in plan.arms]
        return "\n".join(benchmark_view.lines(plan.benchmarks, plan.recipe, ids, records, self.store, settings))

    def receipts(self) -> list[str]:
        return [path for path in self.store.list_files("generations") if "/done-" in path]


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Trials that gave all their answers, which judge-0 graded."""
    folder = tmp_path_factory.mktemp("answered")
    descriptions, choices = bench_files.write(folder, 4)
    settings = Settings(
        store=str(folder / "store"),
        cache=folder / "cache",
        bench_d=descriptions.annotations[0],
        bench_q=choices.annotations[0],
        bench_videos=str(folder),
        judge="judge-0",
        price_in=2.5,
        price_out=10.0,
    )
    made = Lab(settings, SweepStore(settings.store))
    for number, (_, spec) in enumerate(made.plan().arms):
        commit_trial(made.store, spec.trial_id, number, spec.recipe, seed=spec.seed)
        evaluated_as_planned(made.store, spec, {"attention.ap": 0.5}, eval_s=1.0, about=plausible_record().provenance)
    with pytest.MonkeyPatch.context() as patch, Model(judging) as server:
        prepare_here(patch)
        patch.delenv("OPENAI_API_KEY", raising=False)
        assert not summarise(made.run(judge_url=server.url)).problems
    return made


@pytest.fixture
def lab(answered: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The same under another judge, in a store of its own."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    shutil.copytree(answered.settings.store, tmp_path / "store")
    settings = answered.settings.model_copy(update={"store": str(tmp_path / "store"), "judge": "judge-1"})
    return Lab(settings, SweepStore(settings.store))


def test_scores_join_the_table_and_another_judge_generates_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab.receipts()
    assert len(made) == 4  # one part a trial
    monkeypatch.setattr(answering, "LoadedModel", lambda *_: pytest.fail("answers were generated again"))
    with Model(judging) as server:
        results = lab.run(judge_url=server.url)
        asked = sum(server.asked.values())
        assert asked > 0
        lab.run(judge_url=server.url)
        assert sum(server.asked.values()) == asked
    assert lab.receipts() == made
    for trial in results.trials:
        metrics = trial.record.metrics
        assert {"bench_d.avg by judge-1", "attention.ap"} <= set(metrics)
        assert not any(name.endswith("judge-0") for name in metrics)
    table = summarise(results)
    assert [column.measured for column in table.columns] == ["bench_d.avg by judge-1", "attention.ap"]
    assert not any(column.standin for column in table.columns)
    assert not table.comparable  # the paper's judge was another
    assert "judge-1" in table.caveat
    assert table.claims[0].outcome.evidence.direction_only
    assert len(table.claims[0].seeds) == 2
    assert not table.problems
    assert "by judge-1" in render_terminal(table)
    # What the flags name is read from the store, and nothing is asked: the server is gone.
    assert summarise(lab.run(command="report")).claims == table.claims
    assert summarise(lab.run(command="report", judge="judge-0")).columns[0].measured == "bench_d.avg by judge-0"
    # Rows over replicates: the same models, each answer paired with the other arm's.
    over = table.claims[0].over_rows
    assert (over.difference.rows, over.difference.estimate.n) == (4, 4)
    assert over.difference.estimate.mean == pytest.approx(table.claims[0].outcome.interval.mean)
    by_rows = summarise(lab.run(dataclasses.replace(TABLE, verdicts="rows"), command="report"))
    assert by_rows.claims[0].outcome.interval == over.difference.estimate
    assert "test" in "; ".join(by_rows.protocol.undeclared)


def test_plan_counts_what_the_store_lacks(lab: Lab) -> None:
    with Model(judging) as server:
        graded = lab.planned(judge="judge-0", judge_url=server.url)
        other = lab.planned(judge_url=server.url)
        for path in lab.receipts()[:1]:
            lab.store.backend.delete(path)
        less = lab.planned(judge_url=server.url)
        assert not server.asked
    assert "bench-d: 4 rows, by prompts 'text', at most 5 tokens each; 0 answers of 4 trials to generate" in graded
    asked = int(re.search(r"judge judge-0: 0 requests \((\d+) stored\)", graded)[1])
    assert 0 < asked <= 16
    assert f"judge judge-1: {asked} requests (0 stored)" in other
    assert "4 answers of 4 trials to generate" in less
    assert "time unknown" in less
    assert "≈ 0 at 2.5 and 10 a million tokens" in graded


def test_suite_judge_and_metrics_are_in_the_protocol_and_in_no_trials_name(lab: Lab) -> None:
    plain = lab.plan(dataclasses.replace(TABLE, metrics=[Metric("attention.ap")], benchmarks=()))
    assert plain.benchmarks == ()
    for plan in (lab.plan(), lab.plan(BOTH), lab.plan(judge="judge-2"), lab.plan(judge=None, bench_d=None)):
        assert plan.trial_ids == plain.trial_ids
        assert [spec.evaluations for _, spec in plan.arms] == [spec.evaluations for _, spec in plain.arms]
    assert "benchmarks" not in protocol.content(plain)
    declared = protocol.content(lab.plan(BOTH))
    assert declared["metrics"]["bench_d.avg"]["measured"] == "bench_d.avg by judge-1"
    assert declared["metrics"]["bench_q.avg"]["measured"] == "bench_q.avg"
    assert declared["benchmarks"]["bench-d"]["judge"]["model"] == "judge-1"
    assert declared["benchmarks"]["bench-q"]["prompts"] == "letter"
    protocol.declare(lab.plan(), lab.store)
    changes = "; ".join(protocol.standing(lab.plan(judge="judge-2"), lab.store).undeclared)
    assert "metric bench_d.avg: measured as bench_d.avg by judge-2, before as bench_d.avg by judge-1" in changes
    assert "benchmarks.bench-d.judge.model judge-1 → judge-2" in changes


def test_an_alias_that_moved_to_another_model_makes_the_table_mixed(lab: Lab) -> None:
    month = [""]

    def behave(body: dict[str, Any], n: int) -> Reply:
        content = completion(body, judging(body, n)) | {"model": f"judge-1-{month[0]}"}
        return Reply(body=json.dumps(content).encode())

    with Model(behave) as server:
        for arm, month[0] in zip(TABLE.arms, ("may", "june"), strict=True):
            lab.run(dataclasses.replace(TABLE, arms=[arm], paper=Paper("")), judge_url=server.url)
    table = summarise(lab.run(command="report"))
    assert table.mixed
    assert table.claims[0].label == "MIXED"
    assert {group.label for group in table.mixture} == {
        f"bench-d by judge-1: judge judge-1-{month}" for month in ("may", "june")
    }


def test_a_judge_that_fails_loses_no_answer_and_the_next_run_only_grades(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = lab.receipts()
    for path in made:
        lab.store.backend.delete(path)
    prepare_here(monkeypatch)
    with Model(lambda body, n: Reply("no", status=401)) as server:
        results = lab.run(TWO, judge_url=server.url)
        assert sum(server.asked.values()) <= 4  # it is not asked about the second trial
    assert len(lab.receipts()) == 2
    assert set(lab.receipts()) < set(made)
    for trial in results.trials:
        assert "does not accept the key" in trial.failure
        assert "attention.ap" in trial.record.metrics
    assert [line.problem for line in summarise(results).problems] == [trial.failure for trial in results.trials]
    monkeypatch.setattr(answering, "LoadedModel", lambda *_: pytest.fail("answers were generated again"))
    with Model(judging) as server:
        assert not summarise(lab.run(TWO, judge_url=server.url)).problems


def test_an_undecided_benchmark_has_no_mean_and_says_why(lab: Lab) -> None:
    with Model(lambda body, n: Reply("I would rather not say.")) as server:
        (line,) = summarise(lab.run(ONE, judge_url=server.url)).problems
    assert line.problem == (
        "its record has no bench_d.avg by judge-1 (bench_d UNDECIDED: too many answers have no grade)"
    )


def test_nothing_is_trained_for_a_benchmark_that_could_not_be_measured(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complaint(**flags: Any) -> str:
        settings = lab.settings.model_copy(update=flags)
        with pytest.raises(FlagError) as refused:
            table_judge.check_complete(lab.plan(**flags).benchmarks, settings)
        return str(refused.value)

    assert "--bench-d FILE names its rows" in complaint(bench_d=None)
    assert "--judge MODEL names who grades" in complaint(judge=None)
    assert "OPENAI_API_KEY" in complaint(judge_url="https://judge.example/v1")
    assert "no server accepts connections" in complaint(judge_url="http://127.0.0.1:9/v1")
    with pytest.raises(IdentityError, match=r"--bench-d: annotation file .*nowhere\.json"):
        lab.plan(bench_d=str(tmp_path / "nowhere.json"))
    assert "stored weights of every trial" in complaint(keep_checkpoints="bases")
    flags = {"bench_d": None, "judge": None, "train_only": True}
    settings = lab.settings.model_copy(update=flags)
    table_judge.check_complete(lab.plan(**flags).benchmarks, settings)
    results = lab.run(**flags)
    assert "bench-d was not measured: --bench-d FILE" in summarise(results).caveat
    assert {"its record has no bench_d.avg"} == {line.problem for line in summarise(results).problems}
