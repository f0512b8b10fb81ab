"""Sweeps of eight trials and their base on an S3 store that fails: a minute, five minutes, or a third of the time."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sweep_process
from fault_table import fault
from s3_proxy import RESET, Proxy, Reply, refusal

from swimlab.store.sweep_store import SweepStore

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1500)]

SEEDS, STEPS = (0, 1, 2, 3), 20
TRIALS = 1 + 2 * len(SEEDS)
ENDS_WITHIN_S = 900
Results = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What the sweep gives where nothing fails."""
    folder = tmp_path_factory.mktemp("calm")
    store = str(folder / "store")
    driver = sweep_process.start(store, folder, SEEDS, STEPS)
    printed, _ = driver.communicate(timeout=ENDS_WITHIN_S)
    assert driver.returncode == 0, printed
    return sweep_process.results(SweepStore(store))


Meanwhile = Callable[[SweepStore, sweep_process.Process], None]


def swept(uri: str, folder: Path, proxy: Proxy, meanwhile: Meanwhile) -> Results:
    """The results of a sweep behind the proxy. `meanwhile` is called while it runs, with the store as it is without
    the proxy, and its driver."""
    store = SweepStore(uri)  # reaches the server directly
    driver = sweep_process.start(uri, folder, SEEDS, STEPS, {"AWS_ENDPOINT_URL": proxy.url})
    meanwhile(store, driver)
    printed, _ = driver.communicate(timeout=ENDS_WITHIN_S)
    assert driver.returncode == 0, printed
    return sweep_process.results(store)


def failing(injection: str) -> pytest.MarkDecorator:
    right = "right: 8 of 8 done, every file and number as in a calm sweep"
    return fault(injection, "a trial fails or has other numbers", right, "d")


MINUTE = failing("the S3 server answers nothing for 60 s in the middle of a sweep of 8 trials")
FIVE_MINUTES = failing("the S3 server answers nothing for 5 minutes in the middle of a sweep of 8 trials")


@pytest.mark.parametrize("seconds", [pytest.param(60, marks=MINUTE), pytest.param(300, marks=FIVE_MINUTES)])
def test_a_sweep_waits_out_an_outage_of_its_store(
    seconds: float, s3_store_uri: str, tmp_path: Path, calm: Results
) -> None:
    refused = 0

    def refuse(method: str, path: str) -> Reply:
        nonlocal refused
        refused += 1
        return RESET

    def outage(store: SweepStore, driver: sweep_process.Process) -> None:
        while driver.poll() is None and len(store.trial_ids()) < 2:  # the base, and one of those that start from it
            time.sleep(0.2)
        proxy.fault = refuse
        time.sleep(seconds)
        proxy.fault = lambda method, path: None

    with Proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        results = swept(s3_store_uri, tmp_path, proxy, outage)
        proxy.shutdown()
    assert refused > 0
    assert len(results) == TRIALS
    assert results == calm


@failing("the S3 server answers SlowDown to 30 % of all requests throughout a sweep of 8 trials")
def test_a_sweep_gets_through_a_throttled_store(
    s3_store_uri: str, tmp_path: Path, calm: Results, fault_seed: int
) -> None:
    chance = random.Random(fault_seed)
    with Proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        proxy.fault = lambda method, path: refusal(503, "SlowDown") if chance.random() < 0.3 else None
        results = swept(s3_store_uri, tmp_path, proxy, lambda *_: None)
        proxy.shutdown()
    assert len(results) == TRIALS
    assert results == calm
