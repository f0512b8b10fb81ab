from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from store_kit import plausible_record

from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.evaluation_records import EvaluationRecord, TrialTarget
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore


@pytest.fixture
def trial_record() -> Callable[..., TrialRecord]:
    """See `store_kit.plausible_record`."""

    return plausible_record


@pytest.fixture
def evaluate(trial_record: Callable[..., TrialRecord]) -> Callable[..., None]:
    """Commits the evaluations that the plan of a committed trial names, all with these metrics."""

    def write(store: SweepStore, spec: TrialSpec, metrics: Mapping[str, float] = {"attention.ap": 0.5}) -> None:
        target = TrialTarget.of(store.read_records([spec.trial_id])[spec.trial_id])
        for evaluation in spec.evaluations:
            attempt = store.claim(evaluation.evaluation_id, target)
            assert attempt is not None
            record = EvaluationRecord(
                **evaluation.model_dump(),
                target=target,
                data_fingerprint=spec.data_fingerprint,
                metrics=dict(metrics),
                folder=attempt.folder,
                files=attempt.files,
                attempt=attempt.number,
                nonce=attempt.nonce,
                eval_s=1.0,
                provenance=trial_record().provenance,
            )
            assert store.commit_evaluation(attempt, record)

    return write


@pytest.fixture(params=["local", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store on each backend."""
    return str(tmp_path / "store") if request.param == "local" else request.getfixturevalue("s3_store_uri")


@pytest.fixture
def store(uri: str) -> SweepStore:
    return SweepStore(uri)
