"""Drivers without Ray, killed at random moments 1,000 times on local disk and 50 times on S3."""

from pathlib import Path

import pytest

import crash_storm
import storm

SLICES = 4
KILLS = {"local": 1_000, "s3": 50}

storm.FORKS.set_forkserver_preload([*storm.PRELOADED, "pytest"])


def check_storm(uri: str, scratch: Path, kills: int, where: str, seed: int) -> None:
    """Raises AssertionError when a promise of `crash_storm` is broken."""
    raised = storm.Storm(uri, scratch, drivers=2, seed=seed)
    raised.kill(kills, crash_storm.LIFE_S[where])
    raised.share(raised.started())
    judged = storm.judge(raised)
    assert {name: judged[name] for name in crash_storm.PROMISES} == dict.fromkeys(crash_storm.PROMISES, 0)
    assert judged["most_recomputed"] <= storm.INTERVAL
    assert raised.killed_at.total() == kills
    assert judged["trials"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.fault(
    injection="SIGKILL of one of two drivers at a random moment, 1,000 times, store on local disk",
    symptom="a result is lost, altered, computed twice or not evaluated, or more than a report interval is recomputed",
    expected="right: 0 of each",
    reference="e",
)
def test_killed_drivers_lose_nothing_on_local_disk(part: int, fault_seed: int, tmp_path: Path) -> None:
    kills = KILLS["local"] // SLICES
    check_storm(str(tmp_path / "store"), tmp_path, kills, "local", fault_seed * SLICES + part)


@pytest.mark.slow
@pytest.mark.fault(
    injection="SIGKILL of one of two drivers at a random moment, 50 times, store on S3",
    symptom="a result is lost, altered, computed twice or not evaluated, or more than a report interval is recomputed",
    expected="right: 0 of each",
    reference="e",
)
def test_killed_drivers_lose_nothing_on_s3(fault_seed: int, s3_store_uri: str, tmp_path: Path) -> None:
    check_storm(s3_store_uri, tmp_path, KILLS["s3"], "s3", fault_seed)
