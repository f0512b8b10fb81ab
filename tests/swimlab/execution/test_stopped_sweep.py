"""A sweep that is killed, terminated or interrupted goes on where it was, and leaves nothing behind."""

import signal
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import sweep_process
from fault_table import fault
from sweep_process import decided
from test_sweep import run

import nano
from swimlab.store.scratch import abandoned, remove
from swimlab.store.sweep_store import SweepStore

TERMINATED = [
    fault("SIGTERM to a driver whose Ray runs", "Aborted, a native stack, no word", "right: 143 and the line", "F11"),
    fault("SIGTERM to a driver while a trial trains", "its scratch stays for ever", "right: none is left", "F19"),
    fault("a driver makes the token of its Ray", "everybody may read the token", "right: mode 0600", "F20"),
    fault("a driver starts a Ray of its own", "Ray sends statistics of use", "right: it does not", "F20"),
]
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def stopped(injection: str, reference: str = "") -> pytest.MarkDecorator:
    symptom = "processes or scratch stay behind, a trial is lost, or the sweep ends with other numbers"
    return fault(injection, symptom, "right: the same command goes on", reference)


@pytest.mark.parametrize(
    ("how", "times", "seeds", "done"),
    [
        pytest.param(
            *(signal.SIGKILL, 1, (0, 1), 2), marks=[pytest.mark.slow, stopped("kill -9 of the driver of a sweep")]
        ),
        pytest.param(signal.SIGINT, 1, (0,), 0, marks=[pytest.mark.slow, stopped("Ctrl-C in a sweep")]),
        pytest.param(signal.SIGINT, 2, (0,), 0, marks=[pytest.mark.slow, stopped("Ctrl-C twice in a sweep")]),
        pytest.param(signal.SIGTERM, 1, (0,), 0, marks=TERMINATED),
    ],
)
def test_a_stopped_sweep_goes_on(
    two_cpus: None,
    tmp_path: Path,
    how: signal.Signals,
    times: int,
    seeds: tuple[int, ...],
    done: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Finished trials are not run again, and the numbers are those of a sweep that nobody stopped."""
    home = tmp_path / "home"
    home.mkdir()
    ablation, recipe, trials = nano.ablation(seeds=seeds), nano.recipe(steps=40), 1 + 2 * len(seeds)
    driver = sweep_process.start(str(tmp_path / "stopped"), tmp_path, seeds, 40, {"HOME": str(home)})
    scratch = tmp_path / "scratch"
    store = SweepStore(str(tmp_path / "stopped"))
    # Killed with some trials done; interrupted while the base trains, when no other trial exists yet.
    while driver.poll() is None and not (store.list_files("attempts") and len(store.records()) >= done):
        time.sleep(0.1)
    # Ray's two per-node agents outlive a killed driver by minutes; they hold no CPU slot and run no code of ours.
    children = [c for c in psutil.Process(driver.pid).children(recursive=True) if "Agent" not in c.name()]
    # Ray 2.60 tells a Ray that a driver starts not to (`ray.init`), whatever the variable said before.
    assert {child.environ().get("RAY_USAGE_STATS_ENABLED") for child in children if child.name() == "raylet"} == {"0"}
    assert (home / ".ray/auth_token").stat().st_mode & 0o777 == 0o600
    for _ in range(times):
        driver.send_signal(how)
        time.sleep(0.2)
    printed, _ = driver.communicate(timeout=60)
    before = store.records()
    assert done <= len(before) < trials, printed
    assert driver.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[how], printed
    if how != signal.SIGKILL:
        assert "run the same command again to continue" in printed
        assert "Stack trace" not in printed
        assert "SIGTERM" not in printed
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(scratch))
        for folder in abandoned():
            remove(folder)
    assert list(scratch.glob("swimlab-*")) == []

    assert run(ablation, store.uri, tmp_path, recipe, concurrency=1) == 0
    after = store.records()
    assert len(after) == trials
    assert {k: after[k] for k in before} == before

    if how == signal.SIGKILL:
        assert run(ablation, str(tmp_path / "whole"), tmp_path, recipe) == 0
        reference = SweepStore(str(tmp_path / "whole")).records()
        assert {k: decided(r) for k, r in after.items()} == {k: decided(r) for k, r in reference.items()}
