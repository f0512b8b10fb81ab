"""Ray that does not start, met by an experiment's command."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

REPO = Path(__file__).parents[2]
RAY_GIVES_UP_S = 60  # it waits 30 s for its raylet


@pytest.mark.fault(
    injection="the machine is so loaded that Ray's own process does not answer while it starts",
    symptom="a raw traceback of Ray",
    expected="error is one line that says to run the same command again, and where Ray's logs are",
    reference="F10",
)
@pytest.mark.slow
@pytest.mark.ray
def test_ray_that_does_not_start_in_time_is_a_line(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(
        prefix="sw", dir="/tmp", ignore_cleanup_errors=True
    ) as short:  # sockets: 107 characters
        command = [sys.executable, REPO / "experiments/control.py", "smoke", "--store", tmp_path / "store"]
        env |= {"RAY_TMPDIR": short, "RAY_ADDRESS": "local"}
        process = subprocess.Popen(
            command, env=env, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        stopped = _stop_raylet(process)
        try:
            output, _ = process.communicate(timeout=RAY_GIVES_UP_S + 60)
        finally:
            process.kill()
            stopped.kill()
    assert process.returncode == 1, output
    assert "Traceback" not in output
    line = " ".join(output.split())
    assert "Ray did not start" in line
    assert "run the same command again; Ray's logs are under" in line


def _stop_raylet(driver: subprocess.Popen[str]) -> psutil.Process:
    """Stops the raylet as soon as the driver has started it: it answers nobody, as on a machine that is overloaded."""
    while driver.poll() is None:
        for child in psutil.Process(driver.pid).children(recursive=True):
            if child.name() == "raylet":
                child.send_signal(signal.SIGSTOP)
                return child
        time.sleep(0.01)
    pytest.fail(f"the driver ended and had started no raylet: {driver.communicate()[0]}")
