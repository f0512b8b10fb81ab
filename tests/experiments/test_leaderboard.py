"""The leaderboard measurement: a smoke on the loopback server finds the same both ways and lands in the store."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import measurements
from swimlab.cli import experiment_file
from swimlab.store.sweep_store import SweepStore

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "systems"
sys.path.insert(0, str(EXPERIMENTS))

import leaderboard  # noqa: E402


def settings(*arguments: str) -> leaderboard.LeaderboardSettings:
    return experiment_file.settings(leaderboard.LeaderboardSettings, arguments)


def test_a_smoke_counts_requests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(_script: str, flags: dict[str, str], _variables: object) -> list[dict[str, Any]]:
        assert leaderboard.main(settings("worker", *(f"--{name}={value}" for name, value in flags.items()))) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    monkeypatch.setattr(leaderboard.measuring, "fresh_process", here)  # four processes would take most of the time
    assert leaderboard.main(settings("smoke", "--store", str(tmp_path), "--trials", "30", "--newer", "4")) == 0
    (run,) = measurements.runs(SweepStore(str(tmp_path)), leaderboard.NAME, leaderboard.ReadRun)
    seen = {(row.size, row.scheme): (row.requests, row.listings, row.rows) for row in run.rows}
    assert seen == {
        ("30", "snapshot"): (3, 1, 30),
        ("30", "records"): (62, 2, 30),
        ("30+4", "snapshot"): (11, 1, 34),
        ("30+4", "records"): (70, 2, 34),
    }
    assert len({row.digest for row in run.rows}) == 2
    assert leaderboard.main(settings("report", "--store", str(tmp_path))) == 0
    assert "30+4" in capsys.readouterr().out


def test_a_local_store_has_no_requests_to_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leaderboard.main(settings("worker", "--at", str(tmp_path))) == 1
    assert "requests are counted on S3" in capsys.readouterr().err
