"""Step checkpoints of a one-process trial: when an attempt dies, the next one resumes from its last saved step.

    attempts/<trial_id>/<n>/steps/<step>/{run.safetensors, run.json, film.parquet}
    attempts/<trial_id>/<n>/steps/<step>/done.json    written last: sha256 of the others, the numerics class, and the
                                                      hash of the weights the trial started from

Only the newest of an attempt is kept, and none once its trial has a record.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swim.checkpoint import Checkpoint
from swim.outputs import FilmFrame
from swim.train import Moment
from swimlab.store import listings
from swimlab.store.arrow_tables import film_from_table, film_table, from_parquet, to_parquet
from swimlab.store.attempts import Attempt, entry_of, put_dir_once
from swimlab.store.backends.base import Backend
from swimlab.store.paths import folder_of
from swimlab.store.records import FileEntry
from swimlab.store.scratch import scratch_folder
from swimlab.store.sealed_json import sealed, unsealed

_log = logging.getLogger(__name__)

Numerics = Mapping[str, str | int]

# At most a twentieth of a trial's time goes into saving it: 12 MB of a tiny trial are saved at every report, 84 GB of
# a 7B one now and then.
SAVING_SHARE = 1 / 20


@dataclass(frozen=True)
class ResumePoint:
    """The state that an earlier attempt saved. `start_weights`: the hash of the weights the trial had started from."""

    run: Checkpoint
    start_weights: str
    film: tuple[FilmFrame, ...]


class StepCheckpoints:
    """Saves the steps of one attempt. `numerics`: the class in which a run may be resumed; `share`: the share of the
    time that saving may take."""

    def __init__(self, attempt: Attempt, numerics: Numerics, share: float | None = None) -> None:
        self._share = SAVING_SHARE if share is None else share
        self._backend, self._folder = attempt.backend, f"{attempt.folder}/steps"
        self._numerics = dict(numerics)
        self._kept: str | None = None
        self._ended_s, self._took_s = 0.0, 0.0

    def save(self, now: Moment, film: Sequence[FilmFrame], start_weights: str) -> bool:
        """Saves this step and deletes the one before. Returns False, and saves nothing, when saving again so soon
        would take too much of the time."""
        began_s = time.monotonic()
        if self._took_s > self._share * (began_s - self._ended_s):
            return False
        folder = f"{self._folder}/{now.step}"
        with scratch_folder("step") as scratch:
            now.checkpoint().save(scratch)
            (scratch / "film.parquet").write_bytes(to_parquet(film_table(film)))
            files = put_dir_once(self._backend, scratch, folder)
        done = {
            "numerics": self._numerics,
            "start_weights": start_weights,
            "files": {name: entry.model_dump() for name, entry in files.items()},
        }
        self._backend.create(f"{folder}/done.json", sealed(done))
        if self._kept:
            drop(self._backend, self._kept)
        self._kept, self._ended_s = folder, time.monotonic()
        self._took_s = self._ended_s - began_s
        return True


def drop(backend: Backend, folder: str) -> None:
    """Deletes the files of step checkpoints below a folder, `done.json` first: without it a checkpoint counts as
    incomplete."""
    for path in sorted(backend.files(folder), key=lambda path: not path.endswith("/done.json")):
        backend.delete(path)


def latest(backend: Backend, attempt: Attempt, numerics: Numerics) -> ResumePoint | None:
    """The last complete step of the attempts before this one, within the same numerics class; None where there is none.

    Steps whose files are damaged, or that an older swimlab saved without naming the processor, are skipped: that only
    costs time.
    """
    prefix = f"attempts/{attempt.trial_id}/"
    saved_steps: list[tuple[int, int]] = []
    for path in listings.files(backend, prefix.rstrip("/")):
        parts = path.removeprefix(prefix).split("/")
        if len(parts) != 4 or parts[1] != "steps" or not parts[2].isdigit() or parts[3] != "done.json":
            continue
        if int(parts[0]) < attempt.number:
            saved_steps.append((int(parts[2]), int(parts[0])))
    for step, number in sorted(saved_steps, reverse=True):
        if resume_point := _load(backend, f"{folder_of(attempt.trial_id, number)}/steps/{step}", numerics):
            return resume_point
    return None


def _load(backend: Backend, folder: str, numerics: Numerics) -> ResumePoint | None:
    try:
        done = unsealed(json.loads(backend.read(f"{folder}/done.json")), required=False)
        if done["numerics"] != dict(numerics) or "start_weights" not in done:
            return None
        with scratch_folder("step") as scratch:
            for name, entry in done["files"].items():
                local = scratch / Path(name).name
                backend.fetch(f"{folder}/{name}", local)
                if entry_of(local) != FileEntry.model_validate(entry):
                    raise ValueError(f"{folder}/{name} was altered after it was written")
            film = film_from_table(from_parquet((scratch / "film.parquet").read_bytes()))
            return ResumePoint(Checkpoint.load(scratch), done["start_weights"], tuple(film))
    except FileNotFoundError:  # its owner lives after all and moved on
        return None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        _log.warning("%s/%s/done.json or a file beside it is damaged, so it is skipped: %s", backend.uri, folder, error)
        return None
