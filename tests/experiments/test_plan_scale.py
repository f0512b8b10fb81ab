"""What the commands ask of a store and of the sources grows with what is new to read, and nothing else does."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_table import fault

import measurements
import plan_scale
from many_trials import MANY_TRIALS
from swim import recipes
from swimlab.cli import experiment_file
from swimlab.identity import naming
from swimlab.identity.source_closure import Sources
from swimlab.store.backends.local import LocalBackend
from swimlab.store.sweep_store import SweepStore

SIZES = (2, 4)  # seeds of 20 arms
SUITES = len(recipes.named(MANY_TRIALS.recipe).evaluation)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Seeds → a store with results for them, which ran once: the code is checked and the protocol declared."""
    folders = {}
    for seeds in SIZES:
        folders[seeds] = tmp_path_factory.mktemp(f"seeds-{seeds}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: None)  # of 22 files a trial: most of the test's time
            plan_scale.fill(folders[seeds], seeds)
        command(folders[seeds], seeds, "run")
    return folders


def command(folder: Path, seeds: int, *words: str) -> None:
    flags = (f"--store={folder}", f"--cache={folder / 'cache'}", f"--seeds={seeds}")
    with pytest.raises(SystemExit) as ended:
        experiment_file.main([MANY_TRIALS], [*words, *flags])
    assert ended.value.code == 0


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Counter[str]]]:
    """Listed folders and read files since the last call."""
    calls: dict[str, Counter[str]] = {"files": Counter(), "read": Counter()}

    def counting(name: str) -> None:
        real = getattr(LocalBackend, name)

        def count(self: LocalBackend, path: str) -> object:
            calls[name][path] += 1
            return real(self, path)

        monkeypatch.setattr(LocalBackend, name, count)

    def since() -> dict[str, Counter[str]]:
        seen = {name: Counter(paths) for name, paths in calls.items()}
        for paths in calls.values():
            paths.clear()
        return seen

    counting("files")
    counting("read")
    return since


def of(paths: Counter[str], folder: str) -> list[int]:
    return [count for path, count in paths.items() if path.startswith(f"{folder}/")]


@fault(
    "a table of thousands of committed trials is planned", "a request for each of its records", "right: none is read"
)
def test_a_plan_of_committed_trials_reads_no_record(stores, counted) -> None:
    listings = []
    for seeds, folder in stores.items():
        command(folder, seeds, "plan")
        calls = counted()
        assert not of(calls["read"], "records") + of(calls["read"], "evaluations") + of(calls["read"], "attempts")
        listings.append(calls["files"])
    assert listings[0] == listings[1]
    assert listings[0]["records"] <= 2  # what is there, and how many results an amendment would come after


def test_a_plan_of_what_changed_reads_each_record_once(stores, counted) -> None:
    for seeds, folder in stores.items():
        command(folder, seeds + 1, "plan")  # one more seed: its times are estimated from the other trials
        calls = counted()
        assert of(calls["read"], "records") == [1] * plan_scale.ARMS * seeds
        assert not of(calls["read"], "evaluations")  # the leaderboard has their numbers


@fault(
    "a table of thousands of committed trials is run again",
    "its records and curves are read several times, or the listings grow with it",
    "right: each is read once",
)
def test_a_cached_run_reads_each_record_and_curve_once(stores, counted) -> None:
    listings = []
    for seeds, folder in stores.items():
        command(folder, seeds, "run")
        calls = counted()
        trials = plan_scale.ARMS * seeds
        for kind, each in (("records", 1), ("evaluations", SUITES)):
            assert of(calls["read"], kind) == [1] * trials * each
        curves = {path: count for path, count in calls["read"].items() if path.endswith("/metrics.parquet")}
        assert list(curves.values()) == [1] * trials
        listings.append(calls["files"])
    assert listings[0] == listings[1]


def test_sources_are_walked_and_recipes_validated_once_an_arm(tmp_path, monkeypatch) -> None:
    calls: Counter[str] = Counter()

    def counting(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def count(*values: object, **named: object) -> object:
            calls[name] += 1
            return real(*values, **named)

        monkeypatch.setattr(owner, name, count)

    counting(Sources, "closure")
    counting(naming, "canonical_fields")
    seen = []
    for seeds in SIZES:
        plan = plan_scale.planned(seeds, tmp_path)
        assert len(plan.arms) == plan_scale.ARMS * seeds
        seen.append(dict(calls))
        calls.clear()
    assert seen[0] == seen[1]
    assert seen[0]["canonical_fields"] == plan_scale.ARMS + 2  # and its two bases
    assert seen[0]["closure"] < 12


def test_replicates_are_named_as_each_would_be_alone(tmp_path) -> None:
    for trial, spec in plan_scale.planned(3, tmp_path).arms[:9]:
        arm = next(arm for arm in MANY_TRIALS.arms if arm.name == trial.arm)
        base = plan_scale.recipes.named(MANY_TRIALS.recipe)
        assert trial.recipe == MANY_TRIALS.resolve(base, arm, trial.seed)
        alone = naming.Identifier(tmp_path).identify(trial.recipe)
        assert (spec.trial_id, spec.evaluations) == (alone.trial_id, alone.evaluations)


def test_more_trials_than_lines_are_shown_by_arm(tmp_path, capsys) -> None:
    command(tmp_path, 30, "plan")
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if "30 trials" in line]
    assert len(rows) == plan_scale.ARMS
    assert all("0 … 29" in row for row in rows)
    assert "trials     602 to run; 0 of the table's 600 cached" in shown


@pytest.mark.slow
def test_a_smoke_measures_the_four_commands(tmp_path) -> None:
    settings = experiment_file.settings(plan_scale.ScaleSettings, ["smoke", "--store", str(tmp_path)])
    assert plan_scale.main(settings) == 0
    (run,) = measurements.runs(SweepStore(str(tmp_path)), plan_scale.NAME, plan_scale.CommandRun)
    assert {row.scheme for row in run.rows} == set(plan_scale.COMMANDS)
    assert all(row.time_s and row.peak_bytes and row.peak_bytes > 2**20 for row in run.rows)
    json.dumps(run.settings)
