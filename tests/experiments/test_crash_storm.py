"""Drivers killed at random points, and two at once, on local disk and on S3: nothing is lost, nothing is run twice."""

import json
import sys
from pathlib import Path

import pytest
from fault_table import fault

import measurements
from swim.checkpoint import Checkpoint
from swimlab.cli import experiment_file
from swimlab.store.sweep_store import SweepStore

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "systems"
sys.path.insert(0, str(EXPERIMENTS))

import crash_storm  # noqa: E402
import storm  # noqa: E402

storm.FORKS.set_forkserver_preload([*storm.PRELOADED, "pytest"])


def settings(*arguments: str) -> crash_storm.StormSettings:
    return experiment_file.settings(crash_storm.StormSettings, arguments)


def store_at(where: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if where == "local" else request.getfixturevalue("s3_store_uri")


LOST = "a result is lost or counted twice, or more than one report interval is computed again"


@pytest.mark.parametrize(
    ("where", "kills"),
    [
        pytest.param("local", 6, marks=fault("kill -9 of drivers at random moments, local store", LOST, "right: 0")),
        pytest.param("s3", 2, marks=fault("kill -9 of drivers at random moments, store on S3", LOST, "right: 0")),
    ],
)
def test_killed_drivers_lose_nothing(where: str, kills: int, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    raised = storm.Storm(store_at(where, request, tmp_path), tmp_path, drivers=2, seed=1)
    raised.kill(kills, crash_storm.LIFE_S[where] / 2)
    raised.share(raised.started())
    found = storm.judge(raised)
    assert {name: found[name] for name in crash_storm.PROMISES} == dict.fromkeys(crash_storm.PROMISES, 0)
    assert found["most_recomputed"] <= storm.INTERVAL
    assert found["trials"] > 0
    assert raised.killed_at.total() == kills


TWICE = "a trial is run twice"


@pytest.mark.parametrize(
    ("where", "trials"),
    [
        pytest.param("local", 30, marks=fault("two drivers at once on a local store", TWICE, "right: once")),
        pytest.param(
            "s3", 8, marks=[fault("two drivers at once on a store on S3", TWICE, "right: once"), pytest.mark.slow]
        ),
    ],
)
def test_two_drivers_at_once_run_each_trial_once(
    where: str, trials: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    raised = storm.Storm(store_at(where, request, tmp_path), tmp_path, drivers=2, seed=0)
    raised.share(trials)
    found = storm.judge(raised)
    assert (found["trials"], found["attempts"], found["drivers_that_ran"]) == (trials, trials, 2)
    assert {name: found[name] for name in crash_storm.PROMISES} == dict.fromkeys(crash_storm.PROMISES, 0)


def test_the_judge_sees_what_is_broken(tmp_path: Path) -> None:
    """A store that was tampered with after a sweep: each promise is told apart from the others."""
    raised = storm.Storm(str(tmp_path / "store"), tmp_path, drivers=1, seed=0)
    raised.share(4)
    store = SweepStore(raised.uri)
    raised.remember_records(store)
    store.backend.delete("records/t0.json")
    record = store.record("t1").model_copy(update={"recipe_name": "other"})
    store.backend.replace("records/t1.json", record.to_json())
    (evaluation,) = store.evaluations(["e3"]).values()
    other = evaluation.model_copy(update={"metrics": {"weight": 0.0}})
    store.backend.replace(evaluation.path, other.to_json())
    journal = raised.journal.read_text()
    line = next(line for line in journal.splitlines() if " claimed t2 " in line)
    raised.journal.write_text(f"{journal}{line}\n")
    found = storm.judge(raised)
    assert (found["lost"], found["altered"], found["repeated"], found["unfinished"]) == (2, 1, 2, 1)
    assert found["unevaluated"] == 1


def test_a_step_that_is_repeated_or_left_out_shows(tmp_path: Path) -> None:
    run = storm.Now(1)
    storm.Now(1).checkpoint().save(tmp_path)
    run.go_on(Checkpoint.load(tmp_path))
    for _ in range(storm.STEPS):
        run.advance()
    assert run.curve == storm.expected("t1")
    run.step -= 1
    run.advance()
    assert run.curve[-1] != storm.expected("t1")[-1]


def test_a_run_lands_in_the_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = dict.fromkeys(crash_storm.PROMISES, 0) | {"trials": 3, "attempts": 4, "drivers_that_ran": 2}
    row = found | {"scheme": "local", "size": "kill -9", "round": 1, "drivers": 2, "kills": 1, "most_recomputed": 5}
    rows = [row | {"killed_at": [["saving", 1]]}, row | {"kills": 0, "size": "nobody is killed"}]
    asked = iter(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crash_storm.measuring, "fresh_process", lambda *_: [json.loads(json.dumps(next(asked)))])
        assert crash_storm.main(settings("smoke", "--store", str(tmp_path), "--where", "local")) == 0
    (run,) = measurements.runs(SweepStore(str(tmp_path)), crash_storm.NAME, crash_storm.StormRun)
    assert run.rows[0].killed_at == (("saving", 1),)
    verdicts = [line[-1] for line in crash_storm.promises(run)[2]]
    assert verdicts == ["met"] * 9 + ["not met"]  # 4 attempts at 3 trials, though nobody was killed
    assert "4 of 3" in capsys.readouterr().out
