"""Two drivers, garbage collection and a compaction in random interleavings, on the real store: pauses of any length,
heartbeats that seem silent, processes that are killed, listings that fail or are short."""

import random
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from store_kit import plausible_record, record_of

from swimlab.store import garbage_collection, snapshot
from swimlab.store.leases import Owner
from swimlab.store.published_tables import write_tables
from swimlab.store.sweep_store import StoreError, SweepStore

CALLS = ("create", "replace", "read", "read_many", "exists", "files", "sizes", "delete", "delete_many")


class Killed(BaseException):
    """The process ends where it is."""


class Turns:
    """Lets one of several threads run at a time; who is next is chosen at every call of a backend."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.alive, self.turn = rng, set(), None
        self.changed = threading.Condition()

    def take(self, name: str, times: int = 1) -> None:
        with self.changed:
            for _ in range(times):
                if self.rng.random() > 0.6:
                    self.choose()
                self.changed.wait_for(lambda: self.turn == name)

    def choose(self) -> None:
        self.turn = self.rng.choice(sorted(self.alive)) if self.alive else None
        self.changed.notify_all()

    def run(self, processes) -> None:
        def body(name, process):
            with self.changed:
                self.changed.wait_for(lambda: self.turn == name)
            try:
                process()
            except Killed:
                pass
            finally:
                with self.changed:
                    self.alive.remove(name)
                    self.choose()

        threads = [threading.Thread(target=body, args=item) for item in processes.items()]
        self.alive.update(processes)
        for thread in threads:
            thread.start()
        with self.changed:
            self.choose()
        for thread in threads:
            thread.join()


def opened(uri: str, turns: Turns, name: str, *, kills: bool = False, faults: bool = False) -> SweepStore:
    """A store of one of the processes. Whether an attempt seems to have ended is left to chance."""
    store, rng = SweepStore(uri, owner=Owner(host=name, realm="", pid=1)), turns.rng
    withdrawn: list[str] = []
    store.ended = lambda work_id, number: rng.choice(["silent", None, "gone"])

    def interrupted(call, real):
        def run(path, *args):
            # The moments around a commit are those where a pause, or a kill, may do harm. None comes while a record is
            # withdrawn: after a pause as long as a whole collection it would leave a record whose files are gone, which
            # every reader is told.
            around = any(part in str(path) for part in ("records", "commits", "collected"))
            critical = name.startswith("driver") and around
            turns.take(name, 1 + rng.choice([0, 0, 60]) * critical)
            if kills and critical and not withdrawn and rng.random() < 0.03:
                raise Killed
            if call == "create" and str(path).endswith("/withdrawn.json"):
                withdrawn.append(path)
            answer = real(path, *args)
            if faults and call in ("files", "sizes") and answer and rng.random() < 0.1:
                if rng.random() < 0.5:
                    raise StoreError("the listing failed")
                return type(answer)()
            return answer

        return run

    for call in CALLS:
        setattr(store.backend, call, interrupted(call, getattr(store.backend, call)))
    return store


def interleaved(uri: str, seed: int) -> dict[str, int]:
    turns = Turns(random.Random(seed))
    promised, refused = [], []

    def driver(name):
        def drive():
            store = opened(uri, turns, name, kills=True)
            for _ in range(8):
                try:
                    if store.record("t1") is not None:
                        return
                    if (attempt := store.claim("t1")) is None:
                        continue
                    attempt.put("film.bin", b"f")
                    if store.commit(attempt, record_of(attempt, plausible_record)):
                        promised.append(attempt.nonce)
                except StoreError as error:
                    refused.append(error)

        return drive

    def repeated(name, times, action):
        def act():
            store = opened(uri, turns, name, faults=True)
            for _ in range(times):
                try:
                    action(store)
                except StoreError as error:
                    refused.append(error)

        return act

    def collect(store):
        garbage_collection.collect(store, garbage_collection.find(store, wait=lambda _: None))

    turns.run(
        {
            "driver 1": driver("driver 1"),
            "driver 2": driver("driver 2"),
            "gc": repeated("gc", 6, collect),
            "tables": repeated("tables", 2, write_tables),
        }
    )
    store = SweepStore(uri)
    collect(store)  # a record that was written at last, by a process that was killed then, may lack its files
    record = store.record("t1")
    assert promised in ([], [record.nonce] if record else []), "a result that was reported as committed is lost"
    if record is not None:
        assert store.open_file("t1", "film.bin") == b"f"
    write_tables(store)
    assert snapshot.leaderboard(store)["trial_id"].to_pylist() == (["t1"] if record else [])
    return {
        "committed": len(promised),
        "refused": len(refused),
        "fenced": any(path.endswith("collected.json") for path in store.list_files("attempts")),
    }


def check_many(folder: Path, seeds: Iterable[int]) -> None:
    """`interleaved` for each of these seeds, each on a store of its own. Raises AssertionError when a result is lost, a
    record lacks its files, or the harm that is looked for was never near."""
    runs = []
    for seed in seeds:
        uri = folder / str(seed)
        runs.append(interleaved(str(uri), seed))
        shutil.rmtree(uri)
    # Trials were committed, and commits of attempts that gc had taken were refused.
    assert sum(run["committed"] for run in runs) > len(runs) / 2
    assert sum(run["fenced"] for run in runs) > len(runs) / 4
    assert sum(run["refused"] for run in runs) > len(runs) / 2
