"""Committed results are not lost: to listings that fail, to a clock that is set, to a pause inside a commit."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fault_kit import FILES, Command, content
from fault_table import fault
from store_kit import plausible_record, record_of

from swimlab.store import garbage_collection
from swimlab.store.published_tables import write_tables
from swimlab.store.scratch import scratch_folder
from swimlab.store.sweep_store import StoreError, SweepStore


def break_listing(records: Path, how: int) -> None:
    if how == errno.EACCES:
        records.chmod(0)
        return
    records.rename(records.with_name("elsewhere"))
    records.symlink_to("records" if how == errno.ELOOP else "nowhere")


def mend_listing(records: Path) -> None:
    if records.is_symlink():
        records.unlink()
        records.with_name("elsewhere").rename(records)
    records.chmod(0o755)


LISTINGS = [
    pytest.param(errno.EACCES, "Permission denied", id="EACCES", marks=fault(
        "records/ of mode 0, no privileges", "gc --delete deletes the files of committed trials", "error names it", "F1"
    )),
    pytest.param(errno.ELOOP, "Too many levels", id="ELOOP", marks=fault(
        "records/ is a link to itself", "gc --delete deletes the files of committed trials", "error names it", "F1"
    )),
    pytest.param(errno.ENOENT, "lacks t0, t1, t2", id="ENOENT", marks=fault(
        "records/ is a link to a disk that is not mounted", "gc --delete deletes the files of committed trials",
        "error says what the snapshot knows", "F1",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("how", "says"), LISTINGS)
def test_gc_deletes_nothing_of_a_store_whose_records_cannot_be_listed(
    store: SweepStore, tmp_path: Path, bound_by_rights: None, swimlab: Command, how: int, says: str
) -> None:
    before = content(tmp_path / "store/attempts")
    break_listing(tmp_path / "store/records", how)
    code, printed = swimlab("gc", "--delete", "--store", store.uri)
    mend_listing(tmp_path / "store/records")
    assert (code, says in printed, "records" in printed) == (1, True, True), printed
    assert content(tmp_path / "store/attempts") == before
    assert (store.download("t1", "checkpoint/", tmp_path / "copy") / "model.bin").read_bytes() == b"weights"


@fault("records/ of mode 0, no privileges", "an empty snapshot is published", "error, and the rows stay", "F1")
def test_tables_of_a_store_whose_records_cannot_be_listed_stay(
    store: SweepStore, tmp_path: Path, bound_by_rights: None, swimlab: Command
) -> None:
    before = content(tmp_path / "store/tables") | content(tmp_path / "store/recent")
    (tmp_path / "store/records").chmod(0)
    with pytest.raises(StoreError, match=r"records'?; check the disk"):
        write_tables(store)
    mend_listing(tmp_path / "store/records")
    assert content(tmp_path / "store/tables") | content(tmp_path / "store/recent") == before
    assert "3 trials" in swimlab("ls", "--store", store.uri)[1]


@pytest.fixture
def clock_set(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python ARGV` where the kernel says that it booted seven seconds later, as after NTP has set the clock: in a
    mount namespace of its own, /proc/stat is another file."""
    (tmp_path / "stat").write_text(
        "".join(
            f"btime {int(line.split()[1]) + 7}\n" if line.startswith("btime") else line
            for line in Path("/proc/stat").read_text().splitlines(keepends=True)
        )
    )

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        script = 'mount --bind "$0" /proc/stat && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, str(tmp_path / "stat"), *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    if shutil.which("unshare") is None or run("true").returncode:
        pytest.skip("no mount namespaces here (they take root)")
    return run


SECOND_DRIVER = """
import sys
from swimlab.store.sweep_store import SweepStore
print("second claim:", SweepStore(sys.argv[1]).claim("live"))
from swimlab.__main__ import main
main(["gc", "--delete", "--store", sys.argv[1]])
"""


@fault(
    "clock set by 7 s (btime of /proc/stat)", "a live attempt counts as gone: claimed twice, its files deleted",
    "right", "F2",
)  # fmt: skip
def test_a_live_attempt_is_alive_whatever_the_clock_says(
    store: SweepStore, tmp_path: Path, clock_set: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    attempt = store.claim("live")
    assert attempt
    for name, data in FILES.items():
        attempt.put(name, data)
    done = clock_set(sys.executable, "-c", SECOND_DRIVER, store.uri)
    assert "second claim: None" in done.stdout, done
    assert "attempts are alive" in done.stdout, done
    assert store.commit(attempt, record_of(attempt, plausible_record))
    assert (store.download("live", "checkpoint/", tmp_path / "copy") / "model.bin").read_bytes() == b"weights"


Event = Callable[[str, tuple[object, ...]], bool]


def commit_in_child(uri: str, stop_at: Sequence[Event], answer: int) -> None:
    """Claims, puts files and commits; the process stops itself where the interpreter reports these events, one after
    another."""
    left = list(stop_at)

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if left and event in ("os.link", "open") and left[0](event, arguments):
            del left[0]
            os.kill(os.getpid(), signal.SIGSTOP)

    store = SweepStore(uri)
    attempt = store.claim("paused")
    assert attempt
    with attempt.heartbeat(0.05):
        for name, data in FILES.items():
            attempt.put(name, data)
        sys.addaudithook(watch)
        try:
            result = {"committed": store.commit(attempt, record_of(attempt, plausible_record))}
        except StoreError as error:
            result = {"error": str(error)}
    os.write(answer, json.dumps(result).encode())


def before_record(event: str, arguments: tuple[object, ...]) -> bool:
    return event == "os.link" and str(arguments[1]).endswith("records/paused.json")


def after_record(event: str, arguments: tuple[object, ...]) -> bool:
    """The folder is flushed to disk once the record has its name."""
    return event == "open" and str(arguments[0]).endswith("store/records")


PAUSES = [
    pytest.param(before_record, id="before the record", marks=fault(
        "SIGSTOP before the record is linked, gc --wait meanwhile", "a record without files",
        "error: the attempt was collected", "F3",
    )),
    pytest.param(after_record, id="after the record", marks=fault(
        "SIGSTOP after the record is linked, gc --wait meanwhile", "a record without files", "right: it stays", "F3"
    )),
]  # fmt: skip


def committing_child(uri: str, *stop_at: Event) -> tuple[int, int]:
    """A process in its commit, which has stopped at the first of these events: its id, and where its answer comes."""
    answer, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            commit_in_child(uri, stop_at, theirs)
        finally:
            os._exit(0)
    os.close(theirs)
    wait_until_stopped(pid)
    return pid, answer


def wait_until_stopped(pid: int) -> None:
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def collect_silent(uri: str) -> None:
    """What `swimlab gc --delete --wait` does, for heartbeats that are silent sooner."""
    gc = SweepStore(uri, dead_after_s=0.5)
    garbage_collection.collect(gc, garbage_collection.find(gc, wait=time.sleep))


@pytest.mark.parametrize("stop_at", PAUSES)
def test_a_commit_that_pauses_leaves_no_record_without_files(store: SweepStore, tmp_path: Path, stop_at: Event) -> None:
    pid, answer = committing_child(store.uri, stop_at)
    collect_silent(store.uri)
    os.kill(pid, signal.SIGCONT)
    os.waitpid(pid, 0)
    result = json.loads(os.read(answer, 10_000))
    os.close(answer)
    if stop_at is before_record:
        assert "garbage-collected; run it again" in result.get("error", ""), result
        assert store.record("paused") is None
    else:
        assert result == {"committed": True}
        assert store.open_file("paused", "checkpoint/model.bin") == b"weights"


@fault(
    "SIGSTOP before the record is linked, gc --wait meanwhile, SIGKILL once it is linked",
    "a record without files, for ever", "right: the next gc takes it back", "F3",
)  # fmt: skip
def test_a_record_of_a_collected_attempt_is_taken_back(store: SweepStore, swimlab: Command) -> None:
    pid, answer = committing_child(store.uri, before_record, after_record)
    collect_silent(store.uri)
    os.kill(pid, signal.SIGCONT)
    wait_until_stopped(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(answer)
    assert store.record("paused") is not None
    assert "records whose files are gone" in swimlab("gc", "--store", store.uri)[1]
    assert swimlab("gc", "--delete", "--store", store.uri)[0] == 0
    assert store.record("paused") is None
    assert store.claim("paused") is not None


@fault("a driver is killed (SIGKILL)", "its scratch, tens of GB, stays for ever", "right: gc --delete frees it", "F19")
def test_scratch_of_a_killed_process_is_collected(store: SweepStore, temporary: Path, swimlab: Command) -> None:
    ready, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        with scratch_folder("train") as scratch:
            (scratch / "checkpoint").write_bytes(bytes(50_000))
            os.write(theirs, b"!")
            signal.pause()
    assert os.read(ready, 1) == b"!"
    (left,) = temporary.glob("swimlab-train-*")
    assert "nothing to collect" in swimlab("gc", "--delete", "--store", store.uri)[1]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert re.search(r"50\.\d kB", swimlab("gc", "--store", store.uri)[1])
    assert left.exists()
    assert "on this machine freed" in swimlab("gc", "--delete", "--store", store.uri)[1]
    assert not left.exists()
    for end in (ready, theirs):
        os.close(end)
