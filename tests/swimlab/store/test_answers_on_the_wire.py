"""Answers of S3 that are cut, changed or not S3's on their way: never taken for the content. Through a proxy."""

from collections.abc import Callable
from urllib.parse import unquote

import pytest
from fault_table import fault
from s3_proxy import RESET, Proxy, refusal
from store_kit import committed, record_of

from swimlab.store import garbage_collection, snapshot
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import StoreError, SweepStore

pytestmark = pytest.mark.usefixtures("no_waiting")

FILES = {"film.bin": b"n" * 5000, "checkpoint/model": b"w" * 9000}


def stored(store: SweepStore) -> set[str]:
    return {path for folder in ("records", "attempts", "recent", "tables") for path in store.list_files(folder)}


def cut(body: bytes) -> tuple[bytes, int]:
    return body[: len(body) // 2], len(body)


def cut_and_relabelled(body: bytes) -> tuple[bytes, int]:
    return body[: len(body) // 2], len(body) // 2


def flipped(body: bytes) -> tuple[bytes, int]:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :], len(body)


def objects(proxy: Proxy, change: Callable[[bytes], tuple[bytes, int]], times: int) -> list[str]:
    """The next answers with an object's content arrive changed. Returns the paths as they come."""
    changed: list[str] = []

    def on_the_way(method, path, body):
        if method != "GET" or "list-type" in path or not body or len(changed) == times:
            return None
        changed.append(path)
        return change(body)

    proxy.changed = on_the_way
    return changed


@fault("bodies of S3's answers end in the middle, 12 times", "half a file is read as the whole", "right: read again")
def test_a_body_that_is_cut_is_read_again(proxy, s3_store_uri, trial_record, tmp_path):
    store = SweepStore(s3_store_uri)
    committed(store, trial_record, files=FILES)
    record, changed = store.record("t1"), objects(proxy, cut, 12)
    assert store.record("t1") == record
    assert len(changed) == 12
    objects(proxy, cut, 12)
    assert store.open_file("t1", "film.bin") == FILES["film.bin"]
    objects(proxy, cut, 12)
    copy = store.download("t1", "checkpoint/", tmp_path / "copy")
    assert (copy / "model").read_bytes() == FILES["checkpoint/model"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            cut,
            "check AWS_ENDPOINT_URL and the network",
            marks=fault("bodies of S3's answers always end in the middle", "a command hangs", "error names the store"),
        ),
        pytest.param(
            cut_and_relabelled,
            "what arrived is not what was stored",
            marks=fault(
                "a proxy shortens bodies and their Content-Length",
                "half a file is read as the whole",
                "error says that it was changed on its way",
            ),
        ),
        pytest.param(
            flipped,
            "what arrived is not what was stored",
            marks=fault("a bit of each body flips on the way from S3", "another number is read", "error says so"),
        ),
    ],
    ids=["cut", "shortened", "flipped"],
)
def test_a_body_that_is_never_whole_is_an_error(
    proxy, s3_store_uri, trial_record, tmp_path, change, says, record_property
):
    committed(SweepStore(s3_store_uri), trial_record, files=FILES)
    store = SweepStore(s3_store_uri, patience_s=0.2)
    reads = {
        "record": lambda: store.record("t1"),
        "records": store.records,
        "file": lambda: store.open_file("t1", "film.bin"),
        "download": lambda: store.download("t1", "checkpoint/", tmp_path / "copy"),
    }
    for name, read in reads.items():
        changed = objects(proxy, change, 10**6)
        with pytest.raises(StoreError, match=rf"store {s3_store_uri}: .*{says}") as caught:
            read()
        assert changed, name
        record_property("message", str(caught.value))
    proxy.changed = lambda *_: None
    assert store.open_file("t1", "film.bin") == FILES["film.bin"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(
            b"<html><body>Welcome to the hotel's network</body></html>",
            id="page",
            marks=fault(
                "listings answered 200 with a web page", "the store counts as empty", "error, and nothing is deleted"
            ),
        ),
        pytest.param(
            b"",
            id="empty",
            marks=fault("listings answered 200 with nothing", "the store counts as empty", "error, nothing is deleted"),
        ),
        pytest.param(
            b'<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>store/rec',
            id="cut",
            marks=fault(
                "listings cut in the middle of their XML", "the rest counts as deleted", "error, nothing is deleted"
            ),
        ),
    ],
)
def test_a_listing_that_is_none_deletes_nothing(proxy, s3_store_uri, trial_record, answer, record_property):
    writer = SweepStore(s3_store_uri)
    committed(writer, trial_record, "t1", FILES)
    write_tables(writer)
    committed(writer, trial_record, "t2", FILES)
    rows, files = snapshot.leaderboard(writer), stored(writer)
    store = SweepStore(s3_store_uri, patience_s=0.2)
    actions = {
        "records": lambda: garbage_collection.find(store),
        "attempts": lambda: garbage_collection.find(store),
        "recent": lambda: write_tables(store),
        "evaluations": lambda: write_tables(store),
    }
    for folder, action in actions.items():
        changed = []

        def on_the_way(method, path, body, folder=folder, changed=changed):
            if "list-type" not in path or f"prefix=store/{folder}/" not in unquote(path):
                return None
            changed.append(path)
            return answer, len(answer)

        proxy.changed = on_the_way
        with pytest.raises(
            StoreError, match=rf"{s3_store_uri}.*(check AWS_ENDPOINT_URL|run the same command again)"
        ) as caught:
            action()
        assert changed, folder
        record_property("message", str(caught.value))
    proxy.changed = lambda *_: None
    assert files <= stored(writer)
    assert snapshot.leaderboard(writer).equals(rows)


@fault(
    "409 Conflict to every conditional write of a record, for ever",
    "the trial counts as another's, or the driver hangs",
    "error says what to do, and the trial may be committed later",
)
def test_a_conflict_that_stays_is_an_error(proxy, s3_store_uri, trial_record, record_property):
    store = SweepStore(s3_store_uri, patience_s=0.2)
    attempt = store.claim("t1")
    record = record_of(attempt, trial_record)
    proxy.fault = lambda method, path: (
        refusal(409, "ConditionalRequestConflict") if method == "PUT" and "/records/" in path else None
    )
    with pytest.raises(StoreError, match=r"ConditionalRequestConflict.*run the same command again") as caught:
        store.commit(attempt, record)
    record_property("message", str(caught.value))
    proxy.fault = lambda *_: None
    assert store.record("t1") is None
    assert store.commit(attempt, record)


@fault(
    "half of the keys of a bulk deletion are refused",
    "gc says that they are deleted",
    "error names a key, and the next gc finds the rest",
)
def test_a_deletion_that_is_refused_in_part_is_an_error(proxy, s3_store_uri, trial_record, record_property):
    store = SweepStore(s3_store_uri)
    attempt = committed(store, trial_record, files=FILES)
    paths = [attempt.put(f"steps/{step}/run", b"x") and f"{attempt.folder}/steps/{step}/run" for step in (10, 20)]
    kept = (
        '<?xml version="1.0"?><DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Error>'
        f"<Key>store/{paths[1]}</Key><Code>AccessDenied</Code><Message>not yours</Message></Error></DeleteResult>"
    ).encode()
    proxy.fault = lambda method, path: (200, kept) if method == "POST" and "delete" in path else None
    with pytest.raises(StoreError, match=r"steps/20/run was not deleted: not yours") as caught:
        garbage_collection.collect(store, garbage_collection.find(store))
    record_property("message", str(caught.value))
    proxy.fault = lambda *_: None
    garbage_collection.collect(store, garbage_collection.find(store))
    assert [path for path in store.list_files("attempts") if "/steps/" in path] == []
    assert store.open_file("t1", "film.bin") == FILES["film.bin"]


@fault(
    "the connection is reset in the middle of a batch of reads",
    "records are missing from the answer",
    "right: those are read again",
)
def test_records_that_were_cut_out_of_a_batch_are_read_again(proxy, s3_store_uri, trial_record):
    store, lost = SweepStore(s3_store_uri), set()
    for number in range(6):
        committed(store, trial_record, f"t{number}")

    def down(method, path):
        if method == "GET" and "/records/" in path and path not in lost and len(lost) < 4:
            lost.add(path)
            proxy.fail(20, RESET, "GET")
            return RESET
        return None

    proxy.fault = down
    assert set(store.records()) == {f"t{number}" for number in range(6)}
    assert lost
