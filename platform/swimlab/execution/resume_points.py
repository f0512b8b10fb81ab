"""Finds the step from which a trial resumes: the last that an attempt before it saved whole (`step_checkpoints`)."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import cast

import torch

from swim import parallel
from swim.checkpoint import Checkpoint
from swim.outputs import FilmFrame
from swimlab.execution.numerics import Numerics, continued
from swimlab.store import listings
from swimlab.store.arrow_tables import film_from_table, from_parquet
from swimlab.store.attempts import Attempt, entry_of
from swimlab.store.backends.base import Backend
from swimlab.store.paths import folder_of
from swimlab.store.records import FileEntry
from swimlab.store.scratch import scratch_folder
from swimlab.store.sealed_json import unsealed

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResumePoint:
    """The state that an earlier attempt saved. `start_weights`: the hash of the weights the trial had started from;
    `numerics`: the class of the run as a whole, that of the earlier steps included."""

    run: Checkpoint
    start_weights: str
    film: tuple[FilmFrame, ...]
    numerics: dict[str, str | int]


def latest(
    backend: Backend, attempt: Attempt, numerics: Numerics, device: torch.device, *, other_workers: bool = False
) -> ResumePoint | None:
    """The last complete step of the attempts before this one, within the same numerics class; None where there is none.
    `other_workers`: also one that another number of workers saved. Every rank must call, and all get the same step.

    Steps whose files are damaged, or that an older swimlab saved in another form, are skipped: that only costs time.
    """
    rank, _ = parallel.ranks()
    # Ranks might see different files of an owner that lives after all: rank 0 says which steps there are.
    steps = iter(saved_steps(backend, attempt.trial_id, before=attempt.number) if rank == 0 else ())
    while True:
        step, number = parallel.from_rank_0(next(steps, (-1, -1)), device)
        if step < 0:
            return None
        folder = f"{folder_of(attempt.trial_id, number)}/steps/{step}"
        point = _load(backend, folder, numerics, other_workers)
        if parallel.on_all_ranks(point is not None, device):
            return point


def saved_steps(backend: Backend, trial_id: str, before: int | None = None) -> list[tuple[int, int]]:
    """(step, number of the attempt) of the steps that have a `done.json`, the last first; of the attempts `before`
    one."""
    prefix = f"attempts/{trial_id}/"
    saved = []
    for path in listings.files(backend, prefix.rstrip("/")):
        parts = path.removeprefix(prefix).split("/")
        if len(parts) != 4 or parts[1] != "steps" or not parts[2].isdigit() or parts[3] != "done.json":
            continue
        if before is None or int(parts[0]) < before:
            saved.append((int(parts[2]), int(parts[0])))
    return sorted(saved, reverse=True)


def _load(backend: Backend, folder: str, numerics: Numerics, other_workers: bool) -> ResumePoint | None:
    try:
        done = unsealed(json.loads(backend.read(f"{folder}/done.json")), required=False)
        whole = continued(done["numerics"], numerics)
        if whole is None or "start_weights" not in done:
            return None
        if whole != dict(numerics) and not other_workers:
            return None
        entries = {name: FileEntry.model_validate(entry) for name, entry in done["files"].items()}
        rank, world = parallel.ranks()
        with scratch_folder("step") as scratch:
            for i, (name, entry) in enumerate(sorted(entries.items())):
                if name.endswith(".safetensors"):
                    # Together the ranks check them all; each fetches what it needs when it has a model to put it into.
                    if i % world == rank and _entry_of(backend, f"{folder}/{name}") != entry:
                        raise ValueError(f"{folder}/{name} was altered after it was written")
                else:
                    _fetch(backend, folder, name, entry, scratch)
            film = film_from_table(from_parquet((scratch / "film.parquet").read_bytes()))
            run = Checkpoint.load(scratch, partial(_fetched, backend, folder, entries))
        return ResumePoint(run, done["start_weights"], tuple(film), whole)
    except FileNotFoundError:  # its owner lives after all and moved on
        return None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        _log.warning("%s/%s/done.json or a file beside it is damaged, so it is skipped: %s", backend.uri, folder, error)
        return None


@contextmanager
def _fetched(backend: Backend, folder: str, entries: dict[str, FileEntry], name: str) -> Iterator[Path]:
    """A file of a step on this machine's disk, for the time of the block."""
    with scratch_folder("step") as scratch:
        yield _fetch(backend, folder, name, entries[name], scratch)


def _fetch(backend: Backend, folder: str, name: str, entry: FileEntry, scratch: Path) -> Path:
    local = scratch / Path(name).name
    backend.fetch(f"{folder}/{name}", local)
    if entry_of(local) != entry:
        raise ValueError(f"{folder}/{name} was altered after it was written")
    return local


def _entry_of(backend: Backend, path: str) -> FileEntry:
    """Hash and size of a stored file, read in pieces."""
    with backend.open(path) as file:
        digest = hashlib.file_digest(cast(BufferedReader, file), "sha256")  # as every backend opens files
        return FileEntry(sha256=digest.hexdigest(), size_bytes=file.tell())
