"""A real sweep whose driver is killed 20 times, at random moments of its trials."""

import json
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sweep_process

from swimlab.execution.train_loop import REPORT_EVERY_STEPS
from swimlab.store.attempt_files import read_claims
from swimlab.store.sweep_store import SweepStore

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]

KILLS, SLICES = 20, 4
SEEDS, STEPS = (0, 1, 2), 60
LIFE_S = 6.0  # of a driver from its first claim: one or two trials
ENDS_WITHIN_S = 300
Results = dict[str, dict[str, str]]


@dataclass
class Ray:
    """One that outlives the drivers, which connect to it: starting one costs each of them 10 s."""

    variables: dict[str, str]
    session: Path


@pytest.fixture(scope="module")
def two_slots() -> Iterator[Ray]:
    import ray  # most tests do without

    context = ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    info = context.address_info
    of_ray = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    of_ray["SWIMLAB_CHECKPOINT_MINUTES"] = "1e-4"
    yield Ray(of_ray | {"RAY_ADDRESS": info["gcs_address"]}, Path(info["session_dir"]))
    ray.shutdown()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, two_slots: Ray) -> Results:
    """What the sweep gives where nobody is killed."""
    folder = tmp_path_factory.mktemp("calm")
    store = str(folder / "store")
    _ends(sweep_process.start(store, folder, SEEDS, STEPS, two_slots.variables))
    return sweep_process.results(SweepStore(store))


@dataclass
class Stopped:
    """A sweep while its drivers are killed. `seen`: path → content of each record when it was first seen; `reported`:
    trial id → the last step that a killed driver was told."""

    store: SweepStore
    seen: dict[str, bytes] = field(default_factory=dict)
    reported: dict[str, int] = field(default_factory=dict)

    def claimed(self) -> list[tuple[str, int]]:
        """(trial, attempt) of all claims."""
        parts = [path.split("/") for path in self.store.list_files("attempts")]
        return [(part[1], int(part[2])) for part in parts if part[3:] == ["claim"]]

    def remember(self, session: Path) -> None:
        """What is there after a kill."""
        paths = [path for path in self.store.list_files("records") if path not in self.seen]
        self.seen |= self.store.backend.read_many(paths)
        last = _last_reports(session)
        by_process = defaultdict(list)
        for (trial_id, _), claim in read_claims(self.store.backend, self.claimed()).items():
            by_process[claim.owner.pid].append(trial_id)
        done = self.store.trial_ids()
        for process, trial_ids in by_process.items():
            # Of the trials that a process ran only the last may have no record; before its first report it has no file.
            for trial_id in set(trial_ids) - done:
                if len(last[process]) == len(trial_ids):
                    self.reported[trial_id] = max(self.reported.get(trial_id, 0), last[process][-1])


def _last_reports(session: Path) -> dict[int, list[int]]:
    """Process → the last training step in what Tune wrote of each trial that it ran, in their order."""
    ends = []
    for file in session.glob("artifacts/*/sweep/driver_artifacts/*/result.json"):
        if lines := file.read_text().splitlines():
            report = json.loads(lines[-1])
            step = report["step"] if report.get("stage") == "train" else STEPS
            ends.append((file.stat().st_mtime, report["pid"], step))
    steps = defaultdict(list)
    for _, process, step in sorted(ends):
        steps[process].append(step)
    return steps


def _ends(driver: sweep_process.Process) -> None:
    printed, _ = driver.communicate(timeout=ENDS_WITHIN_S)
    assert driver.returncode == 0, printed


def killed_sweep(folder: Path, ray: Ray, most: int, rng: random.Random) -> tuple[int, Stopped]:
    """Starts a sweep again and again until it ends by itself, killing its drivers up to `most` times. Returns how
    often, and what was seen."""
    folder.mkdir()
    sweep, kills = Stopped(SweepStore(str(folder / "store"))), 0
    while True:
        before = sweep.claimed()
        driver = sweep_process.start(sweep.store.uri, folder, SEEDS, STEPS, ray.variables)
        if kills < most:
            while driver.poll() is None and sweep.claimed() == before:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, LIFE_S))
        if kills == most or driver.poll() is not None:
            _ends(driver)
            return kills, sweep
        driver.kill()
        driver.communicate()
        kills += 1
        sweep.remember(ray.session)


@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.fault(
    injection="SIGKILL of the driver of a real sweep at a random moment of its trials, 20 times",
    symptom="a result is lost, altered or computed twice, or more than a report interval is recomputed",
    expected="right: 0 of each",
    reference="e",
)
def test_a_killed_sweep_goes_on(
    part: int,
    fault_seed: int,
    tmp_path: Path,
    two_slots: Ray,
    calm: Results,
    record_property: Callable[[str, object], None],
) -> None:
    rng, left, recomputed = random.Random(fault_seed * SLICES + part), KILLS // SLICES, []
    while left:
        kills, sweep = killed_sweep(tmp_path / str(left), two_slots, left, rng)
        left -= kills
        store, records = sweep.store, sweep.store.records()
        assert sweep_process.results(store) == calm
        assert {path: store.read(path) for path in sweep.seen} == sweep.seen
        assert all(records[trial_id].attempt == number for trial_id, number in _last_attempts(sweep).items())
        # While one step is written training goes on, by a few.
        recomputed += [step - records[trial_id].cost.resumed_step for trial_id, step in sweep.reported.items()]
    record_property("message", f"reported steps that were computed again, by interrupted trial: {sorted(recomputed)}")
    print("recomputed", sorted(recomputed))
    assert max(recomputed, default=0) <= REPORT_EVERY_STEPS


def _last_attempts(sweep: Stopped) -> dict[str, int]:
    return dict(sorted(sweep.claimed()))
