"""Trials on S3 while the server fails: as many results as on a calm day, and the same."""

import os
import random

import pytest
import trained
from s3_proxy import RESET, Proxy, refusal

from swimlab.store.backends import patience
from swimlab.store.newest_results import all_results
from swimlab.store.sweep_store import SweepStore


@pytest.mark.slow
def test_trials_under_outages_end_like_calm_ones(s3_store_uri, tmp_path, monkeypatch, trained_store):
    """A third of the requests are refused throughout, and now and then many in a row get no answer."""
    chance, down = random.Random(0), [0]

    def fault(method, path):
        if down[0] or chance.random() < 0.01:
            down[0] = (down[0] or 40) - 1
            return RESET
        return refusal(503, "SlowDown") if chance.random() < 0.3 else None

    async def at_once(*_):
        return None

    monkeypatch.setattr(patience, "LONGEST_WAIT_S", 0.01)
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("s3fs.core.asyncio.sleep", at_once)
    with Proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        proxy.fault = fault
        trained.run(SweepStore(s3_store_uri), tmp_path / "cache")
        results = all_results(SweepStore(s3_store_uri))
        proxy.shutdown()
    assert {t: r.metrics for t, r in results.items()} == {t: r.metrics for t, r in all_results(trained_store).items()}
