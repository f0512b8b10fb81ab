"""Which process owns an attempt, told without the time of day."""

import os
import subprocess
import sys

import psutil
import pytest

from swimlab.store import leases
from swimlab.store.leases import Owner
from swimlab.store.sweep_store import SweepStore

ME = Owner.current()


@pytest.fixture
def child():
    """A process of ours that waits for its input to end."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def of(pid: int) -> Owner:
    return ME.model_copy(update={"pid": pid, "started_ticks": leases._process_status(pid)[1]})


def test_a_process_is_known_by_its_start_in_ticks(child):
    owner = of(child.pid)
    assert not owner.has_exited(ME)
    other = owner.model_copy(update={"started_ticks": owner.started_ticks - 1})
    assert other.has_exited(ME), "another process with the same pid"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert owner.has_exited(ME), "a zombie"
    child.wait()
    assert owner.has_exited(ME)


@pytest.mark.parametrize("step_s", [-3600, 7, 3600])
def test_a_clock_that_is_set_changes_nothing(tmp_path, child, monkeypatch, step_s):
    """The time of day at which the machine booted moves with the clock, and with it every start time derived from
    it."""
    SweepStore(str(tmp_path), owner=of(child.pid)).claim("t1")
    boot_s = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_s + step_s)
    monkeypatch.setattr("psutil._pslinux.BOOT_TIME", boot_s + step_s, raising=False)
    store = SweepStore(str(tmp_path))
    assert store.ended("t1", 1) is None
    assert store.claim("t1") is None


@pytest.mark.parametrize("known", [{"started_ticks": None}, {"started_ticks": None, "started_s": 1.0}, {"realm": ""}])
def test_without_ticks_a_process_is_never_gone_only_silent(tmp_path, child, known):
    """On another system, and in claims of an older swimlab."""
    now_s = [0.0]
    SweepStore(str(tmp_path), owner=of(child.pid).model_copy(update=known)).claim("t1")
    child.kill()
    child.wait()
    store = SweepStore(str(tmp_path), clock=lambda: now_s[0])
    assert store.ended("t1", 1) is None
    now_s[0] += store.dead_after_s
    assert store.ended("t1", 1) == "silent"


def test_a_process_that_proc_hides_is_not_gone(child, monkeypatch):
    """/proc with hidepid shows only one's own processes."""
    owner = of(child.pid)
    monkeypatch.setattr(leases, "_process_status", lambda pid: None)
    assert not owner.has_exited(ME)
    child.kill()
    child.wait()
    assert owner.has_exited(ME)


def test_a_program_may_have_any_name(tmp_path):
    program = tmp_path / "a) R 1 (b"
    program.symlink_to(sys.executable)
    process = subprocess.Popen([program, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    assert leases._process_status(process.pid)[1] >= ME.started_ticks
    process.communicate(b"\n")
