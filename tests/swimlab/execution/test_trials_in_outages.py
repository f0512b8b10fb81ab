"""Trials on S3 while the server fails: as many results as on a calm day, and the same."""

import random

import pytest
import trained
from s3_proxy import RESET, refusal
from store_kit import all_results

from swimlab.store.sweep_store import SweepStore


@pytest.mark.slow
def test_trials_under_outages_end_like_calm_ones(proxy, no_waiting, s3_store_uri, tmp_path, trained_store):
    """A third of the requests are refused throughout, and now and then many in a row get no answer."""
    chance, down = random.Random(0), [0]

    def fault(method, path):
        if down[0] or chance.random() < 0.01:
            down[0] = (down[0] or 40) - 1
            return RESET
        return refusal(503, "SlowDown") if chance.random() < 0.3 else None

    proxy.fault = fault
    trained.run(SweepStore(s3_store_uri), tmp_path / "cache")
    results = all_results(SweepStore(s3_store_uri))
    assert {t: r.metrics for t, r in results.items()} == {t: r.metrics for t, r in all_results(trained_store).items()}
