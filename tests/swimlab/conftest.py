from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from store_kit import evaluated_as_planned, plausible_record

from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore


@pytest.fixture
def trial_record() -> Callable[..., TrialRecord]:
    """See `store_kit.plausible_record`."""

    return plausible_record


@pytest.fixture
def evaluate(trial_record: Callable[..., TrialRecord]) -> Callable[..., None]:
    """See `store_kit.evaluated_as_planned`."""

    def write(store: SweepStore, spec: TrialSpec, metrics: Mapping[str, float] = {"attention.ap": 0.5}) -> None:
        evaluated_as_planned(store, spec, dict(metrics), eval_s=1.0, about=trial_record().provenance)

    return write


@pytest.fixture(params=["local", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store on each backend."""
    return str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("s3_store_uri")


@pytest.fixture
def store(uri: str) -> SweepStore:
    return SweepStore(uri)
