"""The first signal to a driver is a notice to its trials, which save the step they are at."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
import sweep_process
import torch
from rich.console import Console

from swimlab.execution import stop_notice
from swimlab.execution.stop_notice import StopNotice, Stopping
from swimlab.store.sweep_store import SweepStore

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def ctrl_c_is_pythons():
    """Ray Train, where an earlier test ran it in this process, has put a handler of its own in place."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def notice_of(stopping, trial_id="t"):
    return StopNotice(stopping.session, trial_id, torch.device("cpu"), grouped=False)


def test_a_driver_waits_until_its_trials_have_saved(two_cpus, capsys, monkeypatch):
    monkeypatch.setattr(stop_notice, "LISTEN_EVERY_S", 0.0)
    stopping = Stopping(Console())
    with stopping.listening(), notice_of(stopping) as first, notice_of(stopping, "ends") as second:
        stopping.on_step_end(0, [])
        assert first.given(due=True) == (False, True)
        os.kill(os.getpid(), signal.SIGINT)
        stopping.on_step_end(1, [])
        assert "stopping: trials save the step they are at" in capsys.readouterr().out
        assert first.given(due=False) == (True, False)
        assert first.given(due=False) == (False, False)  # once
        first.saved()
        stopping.on_step_end(2, [])
        second.__exit__()
        with pytest.raises(KeyboardInterrupt):
            stopping.on_step_end(3, [])
    assert stop_notice.internal_kv._internal_kv_list(f"swimlab/{stopping.session}") == []


def goes_round_twice(stopping):
    stopping.on_step_end(1, [])
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


@pytest.mark.parametrize("patience_s", [0.0, 120.0])
def test_a_driver_waits_neither_for_ever_nor_against_a_second_signal(two_cpus, monkeypatch, patience_s):
    monkeypatch.setattr(stop_notice, "NOTICE_S", patience_s)
    stopping = Stopping(Console())
    with stopping.listening(), notice_of(stopping):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            goes_round_twice(stopping)


@pytest.mark.slow
@pytest.mark.fault(
    injection="SIGTERM to a driver whose trial is between two saves",
    symptom="what was trained since the last save is lost",
    expected="right: the trial saves its step first",
)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_terminated_driver_leaves_the_step_it_was_at(tmp_path: Path, workers: int) -> None:
    driver = sweep_process.start(
        str(tmp_path / "store"), tmp_path, (0,), 100_000, {"SWIMLAB_WORKERS": str(workers), "SWIMLAB_CONCURRENCY": "1"}
    )
    store, trained = SweepStore(str(tmp_path / "store")), False
    while driver.poll() is None and not trained:
        time.sleep(0.2)
        beats = [path for path in store.list_files("attempts") if path.endswith(("/heartbeat", "/progress"))]
        trained = any(b'"step": ' in store.read(beat) and b'"train"' in store.read(beat) for beat in beats)
    driver.send_signal(signal.SIGTERM)
    printed, _ = driver.communicate(timeout=120)
    assert driver.returncode == 143, printed
    assert "stopping: trials save the step they are at" in printed
    (done,) = [path for path in store.list_files("attempts") if path.endswith("/done.json")]
    files = json.loads(store.read(done))["files"]
    assert len([name for name in files if name.endswith(".safetensors")]) == max(1, workers)
