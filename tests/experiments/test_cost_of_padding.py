"""The measurement of token budgets runs from clips to its report, and all its divisions train alike."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "systems" / "cost_of_padding.py"
sys.path.insert(0, str(SCRIPT.parent))

import cost_of_padding  # noqa: E402
import measurements  # noqa: E402
from swimlab.store.sweep_store import SweepStore  # noqa: E402


@pytest.mark.slow
def test_a_smoke_run_reports_and_all_schemes_have_one_loss(tmp_path):
    line = [sys.executable, str(SCRIPT), "smoke", f"--store={tmp_path}"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "tokens_per_s budget ÷ fixed ≥ 1.5" in done.stdout
    (run,) = measurements.runs(SweepStore(str(tmp_path)), cost_of_padding.NAME, cost_of_padding.PaddingRun)
    by_scheme = {row.scheme: row for row in run.rows}
    assert set(by_scheme) == set(cost_of_padding.SCHEMES)
    for row in run.rows:
        assert row.loss == pytest.approx(by_scheme["single"].loss, rel=1e-5)
    assert by_scheme["single"].padding == 0
    assert by_scheme["budget"].padding < by_scheme["fixed"].padding
