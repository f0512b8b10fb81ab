"""Live status out of the store: who is done, runs, failed and waits, and what a look costs."""

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console
from store_kit import committed

import nano
from swimlab import Arm
from swimlab.cli.commands.watch import frame, sparkline
from swimlab.execution.monitor import Experiment, Watcher
from swimlab.experiment import run_manifest
from swimlab.experiment.plan import make_plan
from swimlab.experiment.run_manifest import RunManifest
from swimlab.experiment.run_settings import Settings
from swimlab.store.live_progress import ProgressFile, ProgressRecorder
from swimlab.store.published_tables import write_tables
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import SweepStore


def announced_in(store: SweepStore, tmp_path: Path) -> RunManifest:
    arms = (Arm("swim"), Arm("pool", {"objective.fusion": "max"}))
    plan = make_plan(nano.ablation(arms=arms), nano.recipe(), Settings(store=store.uri, cache=tmp_path / "cache"))
    run_manifest.announce(plan, store, plan.trial_ids)
    (found,) = run_manifest.announcements(store)
    return found


@pytest.fixture
def announced(store: SweepStore, tmp_path: Path) -> RunManifest:
    return announced_in(store, tmp_path)


def screen(*experiments: Experiment) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(frame(experiments, "s3://b/s"))
    return console.export_text()


def test_who_is_done_runs_failed_and_waits(store, announced, trial_record) -> None:
    base, *rows = announced.trials
    assert (base.shown, [(t.arm, t.seed) for t in rows]) == (
        False,
        [("swim", 0), ("swim", 1), ("pool", 0), ("pool", 1)],
    )
    committed(store, trial_record, base.trial_id)
    failed = store.claim(rows[0].trial_id)
    with failed.heartbeat():
        failed.fail("Traceback…\nFloatingPointError: loss is nan", "FloatingPointError")
    running = store.claim(rows[1].trial_id)
    with running.heartbeat(interval_s=0.01) as beat:
        beat.tell({"stage": "train", "step": 10, "steps": 40, "loss": 0.5})
        beat.tell({"stage": "train", "step": 20, "steps": 40, "loss": 0.25, "tokens_per_s": 1234.0, "mfu": 0.37})
        path = f"{running.folder}/heartbeat"
        while json.loads(store.read(path)).get("progress", {}).get("step") != 20:
            time.sleep(0.01)  # the next beat says it
        watcher = Watcher(store)
        (seen,) = watcher.poll()
    assert [t.state for t in seen.trials] == ["done", "failed", "running", "waiting", "waiting"]
    told = seen.trials[2]
    assert told.progress.losses == (0.5, 0.25)
    assert told.progress.step == 20
    assert told.beat_age_s is not None
    assert not told.lost
    assert seen.trials[1].error == "FloatingPointError: loss is nan"
    text = screen(seen)
    assert "nano on nano" in text
    assert "1 of 5 done, 1 running, 1 failed, 2 waiting" in text
    assert "swim · seed 1" in text
    assert "step 20/40" in text
    assert "1,234 tokens/s" in text
    assert "MFU 37 %" in text
    assert "█▁" in text
    assert "FloatingPointError: loss is nan" in text
    assert max(map(len, text.splitlines())) <= 100
    assert watcher.poll("another") == []


def test_a_worker_groups_progress_is_seen_beside_its_beat(store, announced) -> None:
    attempt = store.claim(announced.trials[0].trial_id)
    with attempt.heartbeat():
        attempt.progress_file().tell({"stage": "evaluate", "step": 4, "steps": 4, "loss": 0.125})
        (seen,) = Watcher(store).poll()
    assert (seen.trials[0].state, seen.trials[0].progress.stage) == ("running", "evaluate")


def test_damaged_progress_is_named_and_not_shown(store, announced, caplog) -> None:
    attempt = store.claim(announced.trials[0].trial_id)
    with attempt.heartbeat():
        attempt.progress_file().tell({"stage": "train", "step": 4, "steps": 8, "loss": 0.125})
        path = f"{attempt.folder}/progress"
        whole = store.read(path)
        for damaged in (whole.replace(b"0.125", b"0.525"), whole.replace(b'"digest"', b'"digesu"'), b"", b"[]"):
            store.backend.replace(path, damaged)
            caplog.clear()
            (seen,) = Watcher(store).poll()
            assert (seen.trials[0].state, seen.trials[0].progress) == ("running", None)
            assert f"{store.uri}/{path} is damaged" in caplog.text


def test_verdicts_so_far(store, announced, trial_record) -> None:
    from swimlab.experiment.claims.better import Better

    claim = run_manifest.AnnouncedClaim(
        text=Better("swim", "pool").text, weights={"swim": 1.0, "pool": -1.0}, margin=0.0, non_inferiority=False
    )
    for trial in announced.trials:
        if trial.shown:
            value = 0.9 + 0.001 * trial.seed if trial.arm == "swim" else 0.5
            committed(store, trial_record, trial.trial_id, metrics={"attention.ap": value})
    rows = {row["trial_id"]: row for row in leaderboard(store).to_pylist()}
    ((_, label, mean, half),) = run_manifest.judged(announced.model_copy(update={"claims": (claim,)}), rows)
    assert label == "REPRODUCED"
    assert mean == pytest.approx(0.4005)
    assert half is not None
    shown = next(trial.trial_id for trial in announced.trials if trial.shown and trial.arm == "swim")
    rows[shown]["start_weights"] = "others"
    assert [seen[1] for seen in run_manifest.judged(announced.model_copy(update={"claims": (claim,)}), rows)] == [
        "MIXED"
    ]


def test_a_search_is_announced_as_it_proposes(store, trial_record) -> None:
    done, pruned, running, waiting = (f"{i:020x}" for i in range(4))
    trials = tuple(
        run_manifest.AnnouncedTrial(trial_id=t, arm=f"point {i}", seed=0, steps=8, shown=True)
        for i, t in enumerate((done, pruned, running, waiting))
    )
    one = RunManifest(
        experiment="joint", recipe="nano", announced_at="2026-01-01", metric="m", claims=(), trials=trials, unproposed=3
    )
    run_manifest.write(one, store)
    committed(store, trial_record, done)
    for trial_id in (pruned, running):  # what an earlier search pruned may run again
        store.put_create_only(f"pruned/{trial_id}/2.json", b"{}")
    attempt = store.claim(running)
    with attempt.heartbeat():
        (seen,) = Watcher(store).poll()
    assert [t.state for t in seen.trials] == ["done", "pruned", "running", "waiting"]
    assert "1 of 7 done, 1 pruned, 1 running, 1 waiting, 3 to propose" in screen(seen)
    assert seen.open
    assert seen.left_s is None
    ended = one.model_copy(update={"trials": trials[:2]})
    run_manifest.write(ended, store)
    assert Watcher(store).poll()[0].open
    run_manifest.write(ended.model_copy(update={"unproposed": 0}), store)
    assert not Watcher(store).poll()[0].open


def test_a_look_costs_few_requests_on_s3(s3_store_uri, trial_record, tmp_path) -> None:
    """Done trials cost nothing; one that waits a listing, one that runs also the read of its beat."""
    store = SweepStore(s3_store_uri)
    found = announced_in(store, tmp_path)
    for trial in found.trials[:3]:
        committed(store, trial_record, trial.trial_id)
    write_tables(store)
    with store.claim(found.trials[3].trial_id).heartbeat():
        watcher = Watcher(store)
        watcher.poll()
        with store.backend.counted() as sent:
            watcher.poll()
    assert sent == {"ListObjectsV2": 2, "GetObject": 1}, sent  # recent/ and attempts/, the beat


def test_speed_and_time_left_come_from_the_last_reports() -> None:
    now = iter([0.0, 5.0, 10.0])
    latest = ProgressRecorder(clock=lambda: next(now))
    assert latest.progress is None
    for step in (10, 20, 30):
        latest.tell({"stage": "train", "step": step, "steps": 90, "loss": 1 / step})
    assert latest.progress.steps_per_s == 2.0
    assert latest.progress.left_s == 30.0
    latest.tell({"stage": "evaluate", "step": 90, "steps": 90, "loss": 0.1})
    assert latest.progress.stage == "evaluate"
    assert len(latest.progress.losses) == 3


def test_progress_is_written_now_and_then_and_never_stops_a_trial() -> None:
    written: list[bytes] = []
    file = ProgressFile(written.append, interval_s=3600.0)
    for step in (10, 20):
        file.tell({"stage": "train", "step": step, "steps": 90, "loss": 0.5})
    assert [json.loads(data)["step"] for data in written] == [10]

    def refused(data: bytes) -> None:
        raise OSError("no space left")

    ProgressFile(refused, interval_s=0.0).tell({"stage": "train", "step": 1, "steps": 2, "loss": 0.5})


def test_a_sparkline_spans_its_values() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.5, 0.5]) == "▁▁"
    assert sparkline([3.0, 2.0, 1.0]) == "█▅▁"
