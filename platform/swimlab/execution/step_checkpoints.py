"""Saves the steps of a trial while it trains: when an attempt dies, the next one resumes from its last saved step.

    attempts/<trial_id>/<n>/steps/<step>/rank-<r>.{safetensors,json}   what rank r holds (`swim.checkpoint`)
    attempts/<trial_id>/<n>/steps/<step>/rank-<r>.saved.json           sha256 of these, of every rank but 0
    attempts/<trial_id>/<n>/steps/<step>/film.parquet
    attempts/<trial_id>/<n>/steps/<step>/done.json                     written last, by rank 0: sha256 of all files, the
                                                                       numerics class, and the hash of the weights
                                                                       that the trial started from

Only the newest of an attempt is kept, and none once its trial has a record. `resume_points` finds them again.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from swim.checkpoint import Snapshot
from swim.outputs import FilmFrame
from swim.train import Moment
from swimlab.execution.numerics import Numerics
from swimlab.store.arrow_tables import film_table, to_parquet
from swimlab.store.attempts import Attempt, put_dir_once
from swimlab.store.backends.base import Backend
from swimlab.store.scratch import scratch_folder
from swimlab.store.sealed_json import sealed, unsealed

_log = logging.getLogger(__name__)
Entries = dict[str, dict[str, str | int]]

POLL_S = 0.5
# Saves take at most a twentieth of the time: 12 MB of a tiny trial every few seconds, 84 GB of a 7B one now and then.
SAVING_SHARE = 1 / 20


@dataclass(frozen=True)
class Saving:
    """How trials are saved while they train: at the latest `every_s` after one save the next is due. `other_workers`:
    resume also from what another number of workers saved. `session`: of the driver that gives notice before it ends
    (`stop_notice`), if any."""

    every_s: float = 600.0
    other_workers: bool = False
    session: str | None = None


class StepCheckpoints:
    """Saves steps of one attempt, on every rank that trains it. `every_s`: how long after one save the next is due at
    the latest; it is due sooner where a save takes little. `numerics`: the class in which the run may be resumed.

    Training waits while its state is copied to the CPU; a thread writes it, one step at a time. What the thread raises
    is raised by the next call. A context: leaving it waits for the step that is being written."""

    def __init__(self, attempt: Attempt, numerics: Numerics, every_s: float) -> None:
        self._backend, self._folder = attempt.backend, f"{attempt.folder}/steps"
        self._numerics, self._every_s = dict(numerics), every_s
        self._saved_s, self._took_s = time.monotonic(), 0.0
        self._kept: str | None = None
        self._leaving = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="step-checkpoint")
        self._writing: Future[None] | None = None

    def due(self) -> bool:
        """Whether it is time to save: long enough after the last save, which has been written. The first is due at
        once: it tells how long a save takes, and whether the store takes one, before hours have passed."""
        if self._writing and not self._writing.done():
            return False
        self.wait()
        return time.monotonic() - self._saved_s >= min(self._every_s, self._took_s / SAVING_SHARE)

    def save(self, now: Moment, film: Sequence[FilmFrame], start_weights: str) -> None:
        """Copies the step and has it written; the one before is deleted then. Every rank must call; film and start are
        taken from rank 0."""
        self.wait()  # not two copies in memory
        self._saved_s = time.monotonic()
        self._writing = self._thread.submit(self._write, now.checkpoint(), tuple(film), start_weights)

    def wait(self) -> None:
        """Returns when nothing is being written any more. Raises what the writing raised."""
        if self._writing:
            writing, self._writing = self._writing, None
            writing.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leaving.set()
        try:
            self.wait()
        except Exception as failed:
            if error is None:
                raise
            _log.warning("the last step of %s was not saved: %s", self._folder, failed)
        finally:
            self._thread.shutdown()

    def _write(self, snapshot: Snapshot, film: Sequence[FilmFrame], start_weights: str) -> None:
        folder = f"{self._folder}/{snapshot.step}"
        with scratch_folder("step") as scratch:
            snapshot.save(scratch)
            if snapshot.rank == 0:
                (scratch / "film.parquet").write_bytes(to_parquet(film_table(film)))
            files = {name: entry.model_dump() for name, entry in put_dir_once(self._backend, scratch, folder).items()}
        if snapshot.rank:
            self._backend.create(f"{folder}/{_saved_file(snapshot.rank)}", sealed({"files": files}))
            return
        for rank in range(1, snapshot.world):
            entries = self._entries_of(folder, rank)
            if entries is None:
                return
            files |= entries
        done = {"numerics": self._numerics, "start_weights": start_weights, "files": files}
        self._backend.create(f"{folder}/done.json", sealed(done))
        if self._kept:
            drop(self._backend, self._kept)
        self._kept = folder
        self._took_s = time.monotonic() - self._saved_s

    def _entries_of(self, folder: str, rank: int) -> Entries | None:
        """The files that another rank has written, once it has; None where the training ends without it."""
        while True:
            leaving = self._leaving.is_set()
            try:
                content = json.loads(self._backend.read(f"{folder}/{_saved_file(rank)}"))
            except FileNotFoundError:
                if leaving:
                    return None
                self._leaving.wait(POLL_S)
            else:
                entries: Entries = unsealed(content, required=True)["files"]
                return entries


def _saved_file(rank: int) -> str:
    return f"rank-{rank:05}.saved.json"


def drop(backend: Backend, folder: str) -> None:
    """Deletes the files of step checkpoints below a folder, `done.json` first: without it a checkpoint counts as
    incomplete."""
    for path in sorted(backend.files(folder), key=lambda path: not path.endswith("/done.json")):
        backend.delete(path)
