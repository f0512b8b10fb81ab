"""Clips that choose: a search never looks at the reported clips before it has a winner, and only at the winner then."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trained
from optuna.trial import TrialState
from rich.console import Console
from store_kit import committed, evaluated

import nano
from swim.data.annotations.samples import parse_row
from swim.data.clips import InMemoryClips
from swim.data.synthetic import shapes_world
from swim.data.video.decode import decode_sample
from swim.evaluation.evaluate import restore, run_suite
from swim.recipe import NLReferFiles, Recipe
from swimlab import Choice, Float, Metric, Pruning, Search
from swimlab.cli import search_file
from swimlab.data import preparation
from swimlab.execution import run_ablations, trial
from swimlab.execution.search import run_search
from swimlab.execution.search.ask_tell import SearchLoop
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_settings import Settings
from swimlab.experiment.trial_spec import TrialSpec, name_trial
from swimlab.identity.splits import VALIDATION
from swimlab.report import search_page
from swimlab.store.newest_results import newest_results
from swimlab.store.records import TrialRecord
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import SweepStore


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    trained.work_here(monkeypatch)


def declared(**changes: Any) -> Search:
    fields: dict[str, Any] = {
        "name": "nano",
        "space": [Choice("objective.fusion", ["mean", "max"]), Float("objective.mask_weight", 0.5, 4)],
        "objectives": [Metric("attention.ap"), Metric("answer.loss", higher_is_better=False)],
        "recipe": "tiny-smoke",
        "budget": 2,
        "pruning": Pruning(at=(0.5,), clips=2),
        "confirm": (1,),
    }
    return Search(**fields | changes)


def by_hand(recipe: Recipe, checkpoint: Path, split: str, folder: Path) -> dict[str, float]:
    """What the suite `attention` measures of a checkpoint on the clips that a split draws."""
    rows = shapes_world.write(recipe.data, split, range(4), folder)
    samples = [parse_row(raw, file=f"{split}.json", row=i) for i, raw in enumerate(rows)]
    clips = InMemoryClips([decode_sample(sample, folder, recipe.data.frames) for sample in samples])
    return run_suite("attention", recipe, restore(recipe, checkpoint), clips).metrics


def prepare(spec: TrialSpec, store: SweepStore, cache: Path) -> None:
    preparation.prepare(spec.recipe.data, spec.clips_fingerprint, store, cache)
    clips = spec.clips("validation").clips_fingerprint
    preparation.prepare(spec.recipe.data, clips, store, cache, splits=VALIDATION)


def test_a_trial_of_a_table_is_measured_again_and_the_table_stays(
    trained_store: SweepStore, tmp_path: Path, in_process: None
) -> None:
    shutil.copytree(trained_store.uri, tmp_path / "store")
    store, settings = SweepStore(str(tmp_path / "store")), Settings(store=str(tmp_path / "store"), cache=tmp_path)
    plan = make_plan(nano.ablation(seeds=(0,), arms=trained.ARMS), nano.recipe(), settings)
    before = [result.record for result in run_ablations.gather(plan, store, 0.0).trials]
    (_, table_spec), *_ = plan.arms
    spec = name_trial("point 0", table_spec.recipe, tmp_path, ("validation",))
    assert spec.trial_id == table_spec.trial_id
    prepare(spec, store, tmp_path)
    metrics = trial.run_trial(spec, store.uri, trained.SLOTS, None, lambda values: None)

    checkpoint = store.download(spec.trial_id, "checkpoint/", tmp_path / "checkpoint")
    direct = {split: by_hand(spec.recipe, checkpoint, split, tmp_path / split) for split in ("held_out", "validation")}
    assert direct["held_out"]["attention.ap"] != direct["validation"]["attention.ap"]
    measured = {name: value for name, value in metrics.items() if not name.startswith("train.")}
    assert measured == {f"validation.{name}": value for name, value in direct["validation"].items()}
    # Whoever reads the trial without a plan has both, under two names; the table reads its own.
    assert [result.record for result in run_ablations.gather(plan, store, 0.0).trials] == before
    (row,) = (row for row in leaderboard(store).to_pylist() if row["trial_id"] == spec.trial_id)
    for numbers in (row, newest_results(store, [spec.trial_id])[spec.trial_id].metrics):
        assert numbers["attention.ap"] == direct["held_out"]["attention.ap"]
        assert numbers["validation.attention.ap"] == direct["validation"]["attention.ap"]


def test_a_search_measures_its_winner_alone_on_the_reported_clips(tmp_path: Path, in_process: None) -> None:
    store, recipe = SweepStore(str(tmp_path / "store")), nano.recipe(base=False, steps=2)
    settings = Settings(store=store.uri, cache=tmp_path)
    loop = SearchLoop(declared(), recipe, store, tmp_path, retry=True)
    assert loop.search.pruning is not None
    while todo := loop.todo():
        for point in todo:
            assert point.spec is not None
            prepare(point.spec, store, tmp_path)
            rule = loop.search.pruning.rule()
            trial.run_trial(point.spec, store.uri, trained.SLOTS, None, lambda _: None, loop.gate, rule)
            loop.settle(point)
    assert {record.split for record in store.evaluations().values()} == {"validation"}
    open_page = run_search.gather(loop.search, recipe, settings)
    assert open_page.winner is not None
    assert not open_page.winner.complete
    assert "reported clips, which chose nothing: attention.ap –" in markdown(open_page)
    for spec in [*run_search.winner(loop, settings), *run_search.confirmations(loop, settings)]:
        trial.run_trial(spec, store.uri, trained.SLOTS, None, lambda values: None)
    results = run_search.gather(loop.search, recipe, settings)

    values = {}
    for point, answer in results.points:
        assert point.spec is not None
        assert answer is not None
        checkpoint = store.download(point.spec.trial_id, "checkpoint/", tmp_path / f"checkpoint-{point.number}")
        direct = by_hand(point.spec.recipe, checkpoint, "validation", tmp_path / "validation")
        values[point.number] = (direct["attention.ap"], -direct["answer.loss"])
        assert answer.values == (direct["attention.ap"], direct["answer.loss"])
    best = max(values, key=lambda number: values[number])
    winner, reported = results.points[best][0].spec, results.winner
    assert winner is not None
    assert reported is not None
    assert reported.spec.trial_id == winner.trial_id
    of = {split: {e.target.trial_id for e in store.evaluations().values() if e.split == split}
          for split in ("validation", "held_out")}  # fmt: skip
    assert of["validation"] == {point.spec.trial_id for point, _ in results.points if point.spec}
    assert of["held_out"] == {winner.trial_id, *(run.spec.trial_id for run in results.confirmed)}
    assert len(of["held_out"]) == 3
    checkpoint = tmp_path / f"checkpoint-{best}"
    on_reported = by_hand(winner.recipe, checkpoint, "held_out", tmp_path / "held_out")["attention.ap"]
    assert f"attention.ap {on_reported:.3f}" in markdown(results)
    rungs = [path for path in store.list_files("rungs") if winner.evaluation("attention").evaluation_id in path]
    assert len(rungs) == 1


def markdown(results: Any) -> str:
    return search_page.write(results)["report.md"].replace("\\", "")


class Planted:
    """A store in which the reported clips say the opposite of the validation clips."""

    def __init__(self, folder: Path, record: Callable[..., TrialRecord]) -> None:
        self.settings = Settings(store=str(folder / "store"), cache=folder / "cache")
        self.store, self._record, self.recipe = SweepStore(self.settings.store), record, nano.recipe(base=False)
        start = [{"objective.fusion": fusion, "objective.mask_weight": 1.0} for fusion in ("mean", "max")]
        self.search = declared(objectives=[Metric("attention.ap")], budget=2, start=start, pruning=None, confirm=())

    def train(self, spec: TrialSpec) -> None:
        committed(self.store, self._record, spec.trial_id, recipe=spec.recipe.training(), metrics={})

    def measure(self, spec: TrialSpec) -> None:
        """The evaluations that a spec names; "mean" is best on validation clips, "max" on the reported ones."""
        record = self.store.record(spec.trial_id)
        assert record is not None
        for evaluation in spec.evaluations:
            good = {"validation": "mean", "held_out": "max"}[evaluation.split]
            metrics = {"attention.ap": 0.875 if spec.recipe.objective.fusion == good else 0.125}
            about = {"data_fingerprint": spec.clips(evaluation.split).data_fingerprint, "metrics": metrics}
            evaluated(self.store, record, **evaluation.model_dump() | about)

    def specs(self, split: str) -> list[TrialSpec]:
        loop = SearchLoop(self.search, self.recipe, self.store, self.settings.cache, retry=False)
        loop.todo()
        recipes = [point.spec.recipe for point in loop.points if point.spec]
        return [name_trial("a", recipe, self.settings.cache, (split,)) for recipe in recipes]

    def results(self) -> Any:
        return run_search.gather(self.search, self.recipe, self.settings)

    def printed(self, command: str) -> str:
        out = io.StringIO()
        settings = self.settings.model_copy(update={"command": command})
        search_file._command(self.search, settings, lambda: self.recipe, Console(file=out, width=240))
        return " ".join(out.getvalue().split())


@pytest.fixture
def planted(tmp_path: Path, trial_record: Callable[..., TrialRecord]) -> Planted:
    return Planted(tmp_path, trial_record)


def test_validation_clips_choose_where_the_reported_ones_say_otherwise(planted: Planted) -> None:
    for spec in planted.specs("validation"):
        planted.train(spec)
        planted.measure(spec)
    for spec in planted.specs("held_out"):  # as a table that has both arms leaves them
        planted.measure(spec)
    results = planted.results()
    assert [answer.values for _, answer in results.points] == [(0.875,), (0.125,)]
    assert results.winner.spec.recipe.objective.fusion == "mean"
    assert results.winner.record.metrics["attention.ap"] == 0.125
    for page in (markdown(results), planted.printed("report")):
        assert "best by validation.attention.ap: point 0 (validation.attention.ap 0.875)" in page
        assert "the same trial on the reported clips, which chose nothing: attention.ap 0.125" in page
    html = search_page.write(results)["index.html"]
    assert '<td class="num">0.875</td><td class="num primary">0.125</td>' in html


def test_a_search_that_chose_on_the_reported_clips_is_measured_again_and_never_mixed(planted: Planted) -> None:
    for spec in planted.specs("held_out"):
        planted.train(spec)
        planted.measure(spec)
    before = planted.results()
    assert [answer for _, answer in before.points] == [None, None]
    assert before.winner is None
    assert "points 0, 1 are trained, and not measured on the validation clips: `run` measures them" in markdown(before)
    plan = planted.printed("plan")
    assert plan.count("evaluate only") == 2
    assert "max attention.ap, on 4 validation clips, which are neither trained on nor reported" in plan
    for spec in planted.specs("validation"):
        planted.measure(spec)
    results = planted.results()
    assert [answer.state for _, answer in results.points] == [TrialState.COMPLETE] * 2
    assert results.winner.spec.recipe.objective.fusion == "mean"
    assert results.unmeasured == ()


def test_ones_own_data_without_rows_that_choose_is_refused_at_plan(planted: Planted, tmp_path: Path) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text("[]")
    data = NLReferFiles(annotations=(str(rows),), videos=str(tmp_path), frames=planted.recipe.data.frames)
    planted.recipe = nano.recipe(base=False, data=data)
    with pytest.raises(ValueError, match=r"data\.validation_annotations names no file.*move a tenth of the rows"):
        planted.printed("plan")
