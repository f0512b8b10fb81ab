"""Outages of the store are waited out, and what waiting cannot mend is said at once. Through a proxy before S3."""

import logging
import random

import pytest
from fault_table import fault
from s3_proxy import RESET, refusal
from store_kit import ELSEWHERE, record_of

from swimlab.store.backends import patience, s3
from swimlab.store.backends.patience import Patience, waiting_at_most
from swimlab.store.errors import StoreError
from swimlab.store.sweep_store import SweepStore, reachable_store

pytestmark = pytest.mark.usefixtures("no_waiting")

# More requests than the client's own tries of one call, so that only patience helps.
OUTAGE = 30


def outage(what, reference="F4"):
    return fault(f"every kind of S3 request: {what}", "the trial fails", "right: waited out", reference)


def refused(what):
    return fault(f"every S3 request: {what}", "it is waited for, for an hour", "error at once, with what to do")


def every_call(store, record):
    """A whole trial, and what readers do with it."""
    attempt = store.claim("t1")
    with attempt.heartbeat():
        attempt.put("metrics.parquet", b"numbers")
        assert store.commit(attempt, record_of(attempt, record))
    assert store.records()["t1"].nonce == attempt.nonce
    with store.open(f"{attempt.folder}/metrics.parquet") as file:
        file.seek(3)
        assert file.read() == b"bers"
    assert store.list_files(attempt.folder)
    store.backend.delete_many([f"{attempt.folder}/metrics.parquet"])
    assert not store.exists(f"{attempt.folder}/metrics.parquet")


@pytest.mark.parametrize(
    ("reply", "failures"),
    [
        pytest.param(RESET, OUTAGE, id="reset"),
        pytest.param(refusal(503, "SlowDown"), OUTAGE, id="SlowDown"),
        pytest.param((502, b"<html>a proxy's page</html>"), 6, id="502", marks=outage("502 with a proxy's page")),
        pytest.param(refusal(500, "InternalError"), 6, id="500"),
        pytest.param(refusal(400, "RequestTimeout"), 6, id="RequestTimeout", marks=outage("RequestTimeout")),
        pytest.param(refusal(400, "ExpiredToken"), 2, id="ExpiredToken"),
        pytest.param(refusal(403, "RequestTimeTooSkewed"), 2, id="skewed", marks=outage("RequestTimeTooSkewed", "F20")),
        pytest.param(refusal(409, "ConditionalRequestConflict"), 2, id="409", marks=outage("409 Conflict twice", "")),
    ],
)
def test_an_outage_costs_time_and_no_trial(proxy, s3_store_uri, trial_record, reply, failures, caplog):
    """Each kind of request fails, more often than the client tries by itself; the log says what is waited for."""
    store, tried = SweepStore(s3_store_uri), {}

    def down(method, path):
        kind = method, "list-type" in path, "parquet" in path
        tried[kind] = tried.get(kind, 0) + 1
        return reply if tried[kind] <= failures else None

    proxy.fault = down
    with caplog.at_level(logging.WARNING):
        every_call(store, trial_record)
    text = caplog.text
    assert len(tried) > 5
    assert min(tried.values()) > failures
    assert text.count("waiting for ") > 2
    assert "so far, giving up after 3600 s" in text
    assert "answers again after" in text


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(RESET, id="reset", marks=outage("30 % are reset throughout")),
        pytest.param(refusal(503, "SlowDown"), id="SlowDown", marks=outage("30 % are told SlowDown throughout")),
    ],
)
def test_a_third_of_the_requests_may_fail_throughout(proxy, s3_store_uri, trial_record, reply):
    chance = random.Random(0)
    proxy.fault = lambda method, path: reply if chance.random() < 0.3 else None
    every_call(SweepStore(s3_store_uri), trial_record)


@pytest.mark.fault(
    injection="the answer to every write is lost, by a proxy before S3",
    symptom="a driver takes its own write for another's, or counts a trial twice",
    expected="right: one winner, every file once",
    reference="F12",
)
def test_a_lost_answer_leaves_one_winner(proxy, s3_store_uri, trial_record):
    """Every write lands, and its answer is lost for longer than the client tries: it is sent again and refused."""
    store, lost = SweepStore(s3_store_uri), set()

    def reply(method, path):
        if method != "PUT" or path in lost:
            return None
        lost.add(path)
        proxy.fail(OUTAGE, RESET)
        return RESET

    proxy.lost = reply
    store.check_writable()
    every_call(store, trial_record)
    assert len(lost) > 5


@pytest.mark.parametrize(
    ("status", "name", "hint"),
    [
        pytest.param(403, "AccessDenied", "s3:PutObject", marks=refused("AccessDenied")),
        pytest.param(404, "NoSuchBucket", "create the bucket", marks=refused("NoSuchBucket")),
        pytest.param(403, "InvalidAccessKeyId", "AWS_SECRET_ACCESS_KEY", marks=refused("InvalidAccessKeyId")),
        pytest.param(403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY", marks=refused("SignatureDoesNotMatch")),
        pytest.param(403, "QuotaExceeded", "check the bucket", marks=refused("QuotaExceeded")),
        pytest.param(507, "XMinioStorageFull", "check the bucket", marks=refused("storage full")),
        pytest.param(400, "AuthorizationHeaderMalformed", "AWS_DEFAULT_REGION"),
    ],
)
def test_what_waiting_cannot_mend_is_said_at_once(proxy, s3_store_uri, status, name, hint, caplog):
    """A patient store, which would wait for an hour."""
    proxy.fault = lambda method, path: refusal(status, name)
    with pytest.raises(StoreError, match=rf"{name}.*{hint}"):
        SweepStore(s3_store_uri).backend.create("a", b"1")
    assert "waiting" not in caplog.text


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (refusal(400, "ExpiredToken"), "ExpiredToken: injected; the credentials have expired: renew them"),
        (refusal(403, "RequestTimeTooSkewed"), "RequestTimeTooSkewed: injected; set this machine's clock"),
        (refusal(503, "SlowDown"), "SlowDown: .*; the server is overloaded or failing"),
        (RESET, "check AWS_ENDPOINT_URL and the network"),
    ],
    ids=["expired", "skewed", "SlowDown", "reset"],
)
def test_an_impatient_store_gives_up_and_says_what_to_do(proxy, s3_store_uri, fault, hint):
    proxy.fault = lambda method, path: fault
    with pytest.raises(StoreError, match=hint):
        SweepStore(s3_store_uri, patience_s=0.0).records()
    with waiting_at_most(0.0), pytest.raises(StoreError, match=hint):
        SweepStore(s3_store_uri).records()


@pytest.mark.fault(
    injection="the S3 endpoint resets every connection from the start",
    symptom="a mistyped endpoint is waited for, for an hour",
    expected="error names AWS_ENDPOINT_URL",
)
def test_a_driver_s_first_contact_is_not_patient(proxy, s3_store_uri, monkeypatch):
    monkeypatch.setattr("swimlab.store.sweep_store.SHORT_S", 0.0)
    proxy.fault = lambda method, path: RESET
    with pytest.raises(StoreError, match="AWS_ENDPOINT_URL"):
        reachable_store(s3_store_uri)


@pytest.mark.fault(
    injection="credentials expire in a running command and their file is renewed",
    symptom="the old keys are used until the run fails",
    expected="right: the new keys are read and the call goes on",
    reference="F4",
)
def test_renewed_credentials_are_read(proxy, s3_store_uri, monkeypatch, tmp_path):
    """Keys of a file that is rewritten while a sweep runs, as a login does."""
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = old\naws_secret_access_key = x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    store, keys = SweepStore(s3_store_uri), []
    assert store.list_files("records") == []

    def sleep(_):
        file.write_text("[default]\naws_access_key_id = new\naws_secret_access_key = x\n")

    monkeypatch.setattr(store.backend, "_patience", Patience("s", 3600.0, sleep=sleep))
    connection = store.backend._connection

    def connected():
        keys.append("read again")
        proxy.fault = lambda method, path: None
        return connection()

    monkeypatch.setattr(store.backend, "_connection", connected)
    proxy.fault = lambda method, path: refusal(400, "ExpiredToken")
    assert store.list_files("records") == []
    assert keys == ["read again"]
    assert store.backend.fs.s3._request_signer._credentials.access_key == "new"


def test_waits_grow_and_end_at_the_limit():
    """By a clock of its own: waits double to the longest, and the last fits before the limit."""
    now, waits = [0.0], []

    def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    def send():
        raise ConnectionError("down")

    waiting = Patience("store", 600.0, sleep=sleep, clock=lambda: now[0])
    with pytest.raises(ConnectionError):
        waiting.call(send, str)
    assert 500 < now[0] <= 600
    assert len(waits) > 2
    assert max(waits) <= patience.LONGEST_WAIT_S


def test_the_empty_name_is_no_store():
    """An empty variable would else mean the current folder."""
    for name in ("", "  "):
        with pytest.raises(StoreError, match="empty name"):
            SweepStore(name)


def test_schemes_and_file_addresses(tmp_path):
    assert isinstance(SweepStore("S3://Bucket/a").backend, s3.S3Backend)
    assert SweepStore("S3://Bucket/a").uri == "s3://Bucket/a"
    folder = tmp_path / "my store#1"
    assert SweepStore(f"file://{tmp_path}/my%20store%231").uri == str(folder)
    assert SweepStore(f"FILE://localhost{tmp_path}/x").uri == f"{tmp_path}/x"
    assert SweepStore(str(folder)).uri == str(folder)
    with pytest.raises(StoreError, match="%23"):
        SweepStore(f"file://{folder}")
    with pytest.raises(StoreError, match="names the machine 'host'"):
        SweepStore("file://host/x")


def test_silence_during_the_observer_s_own_outage_is_no_death(proxy, s3_store_uri, monkeypatch):
    """Both share one store: whoever cannot read heartbeats must not conclude that nobody writes them."""
    now_s = [0.0]
    SweepStore(s3_store_uri).claim("t1")
    observer = SweepStore(s3_store_uri, dead_after_s=60, owner=ELSEWHERE, clock=lambda: now_s[0])

    def sleep(_):
        now_s[0] += 90
        proxy.fault = lambda method, path: None

    monkeypatch.setattr(observer.backend, "_patience", Patience("s", 600.0, sleep=sleep, clock=lambda: now_s[0]))
    assert observer.ended("t1", 1) is None
    proxy.fault = lambda method, path: refusal(503, "SlowDown")
    assert observer.ended("t1", 1) is None
    assert now_s[0] == 90
    now_s[0] += 60
    assert observer.ended("t1", 1) == "silent"
