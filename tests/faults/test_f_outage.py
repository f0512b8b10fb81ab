"""What a server does to a trial on S3, through a proxy: time is lost and nothing else, or a line says what to do."""

from pathlib import Path

import pytest
from fault_kit import Command
from fault_table import fault
from s3_proxy import RESET, Proxy, Reply, refusal
from store_kit import committed, plausible_record, record_of

from swimlab.store.sweep_store import SweepStore

OUTAGES = [
    pytest.param(RESET, 12, id="reset", marks=fault(
        "connections to S3 are reset 12 times in a row, at each step of a trial", "the trial is lost", "right", "F4"
    )),
    pytest.param(refusal(503, "SlowDown"), 27, id="SlowDown", marks=fault(
        "S3 answers SlowDown 27 times in a row, at each step of a trial", "the trial is lost", "right", "F4"
    )),
    pytest.param(refusal(500, "InternalError"), 12, id="500", marks=fault(
        "S3 answers 500 12 times in a row, at each step of a trial", "the trial is lost", "right", "F4"
    )),
    pytest.param(refusal(400, "ExpiredToken"), 2, id="ExpiredToken", marks=fault(
        "credentials expire and are renewed, at each step of a trial", "the trial is lost", "right", "F4"
    )),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "times"), OUTAGES)
def test_an_outage_between_any_two_steps_of_a_trial_loses_nothing(
    proxy: Proxy, no_waiting: None, s3_store_uri: str, tmp_path: Path, reply: Reply, times: int
) -> None:
    store = SweepStore(s3_store_uri)
    proxy.fail(times, reply)
    attempt = store.claim("t1")
    assert attempt
    with attempt.heartbeat():
        proxy.fail(times, reply)
        attempt.put("checkpoint/model.bin", b"weights")  # what hours of training have made
        proxy.fail(times, reply)
        assert store.commit(attempt, record_of(attempt, plausible_record))
    assert (store.download("t1", "checkpoint/", tmp_path / "copy") / "model.bin").read_bytes() == b"weights"


@fault("the answer to the first PUT of a run is lost", "a good bucket is refused", "right", "F12")
def test_a_lost_answer_to_the_probe_refuses_no_bucket(proxy: Proxy, no_waiting: None, s3_store_uri: str) -> None:
    lost: list[str] = []

    def reply(method: str, path: str) -> Reply | None:
        if method != "PUT" or lost:
            return None
        lost.append(path)
        return RESET

    proxy.lost = reply
    SweepStore(s3_store_uri).check_writable()
    assert len(lost) == 1


ADVICE = [
    pytest.param(refusal(400, "ExpiredToken"), ("ExpiredToken", "renew"), id="expired", marks=fault(
        "credentials have expired", "advice about s3:ListBucket", "error says to renew them", "F20"
    )),
    pytest.param(refusal(403, "RequestTimeTooSkewed"), ("RequestTimeTooSkewed", "clock"), id="skewed", marks=fault(
        "the clock is off by an hour", "advice about s3:ListBucket", "error says to set it", "F20"
    )),
    pytest.param(refusal(400, "AuthorizationHeaderMalformed"), ("AWS_DEFAULT_REGION",), id="region", marks=fault(
        "the bucket is in another region", "advice to check the bucket", "error names the variable", "F20"
    )),
    pytest.param(refusal(503, "SlowDown"), ("SlowDown", "overloaded"), id="SlowDown", marks=fault(
        "S3 answers SlowDown to a command for as long as it waits", "[Errno 16]", "error names SlowDown", "F20"
    )),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "says"), ADVICE)
def test_a_command_says_what_to_do(
    proxy: Proxy, no_waiting: None, s3_store_uri: str, swimlab: Command, monkeypatch: pytest.MonkeyPatch,
    reply: Reply, says: tuple[str, ...],
) -> None:  # fmt: skip
    monkeypatch.setattr("swimlab.store.query.SHORT_S", 0.0, raising=False)
    proxy.fault = lambda method, path: reply
    code, printed = swimlab("ls", "--store", s3_store_uri)
    assert code == 1
    for word in says:
        assert word in printed
    assert "s3:ListBucket" not in printed


@fault("the scheme of a store is in capitals (S3://)", "another store, or none, is meant", "right", "F20")
def test_a_scheme_in_capitals_is_the_scheme(s3_store_uri: str, swimlab: Command) -> None:
    committed(SweepStore(s3_store_uri), plausible_record)
    code, printed = swimlab("ls", "--store", s3_store_uri.replace("s3://", "S3://"))
    assert (code, f"1 trials in {s3_store_uri}" in printed) == (0, True), printed
