"""Runs a stored trial again, from stored code, stored data and its seed, and compares the curve bit for bit.

Training happens in a child process without Ray, with the trial's own `swim` first on its path (see `replay_child`).
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from swim.recipe import DataConfig, NLReferFiles
from swim.supervision.layers import resolve
from swimlab.data import prepared_clips
from swimlab.data.prepared_clips import PreparedData, StoredClips
from swimlab.execution import replay_child
from swimlab.identity import naming
from swimlab.stats.pairing import UNKNOWN
from swimlab.store import provenance
from swimlab.store.arrow_tables import from_parquet, metrics_from_table
from swimlab.store.errors import StoreError
from swimlab.store.records import TrialRecord
from swimlab.store.sweep_store import SweepStore
from swimlab.store.trial_diff import Difference, compared

Say = Callable[[str], None]
Curve = dict[int, dict[str, float]]
"""Step → name → value."""


class ReplayError(RuntimeError):
    """The trial could not be run again. The message says why."""


@dataclass
class Replay:
    """The first `equal_steps` steps were equal. `first`: the first difference (step, name, stored, replayed); None
    when every value of the `compared_steps` was equal. `last_gap`: the difference of the loss at the last compared
    step."""

    compared_steps: int = 0
    stored_steps: int = 0
    first: tuple[int, str, float, float] | None = None
    last_gap: float = 0.0
    numerics: list[Difference] = field(default_factory=list)
    versions: list[Difference] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        return self.first is None and self.compared_steps > 0

    @property
    def equal_steps(self) -> int:
        return self.first[0] - 1 if self.first else self.compared_steps


def replay(
    store: SweepStore,
    record: TrialRecord,
    *,
    steps: int | None = None,
    micro_batch: int | None = None,
    cache: Path,
    say: Say = lambda text: None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Replay:
    """Trains the first `steps` steps again (default: all that are stored) on this machine.

    Raises StoreError for a file of the store that is gone or altered, ValueError for data that is not what the trial
    saw, ReplayError when the stored code does not run here.
    """
    stored = stored_curve(store, record)
    if not stored:
        raise ValueError(f"trial {record.trial_id} trained for 0 steps: there is no curve to compare")
    last_step = min(steps or max(stored), max(stored))
    with tempfile.TemporaryDirectory(prefix="swimlab-replay-") as scratch:
        source = unpack(store, record.code_fingerprint, Path(scratch) / "source")
        prepared = _prepared(store, record, source, cache, say)
        init_dir = None
        if record.init_trial_id:
            init_dir = store.download(record.init_trial_id, "checkpoint/", Path(scratch) / "init")
        parts = prepared.splits[prepared.source("train")]
        job = {
            "source": str(source),
            "recipe": runnable(record.recipe),
            "steps": last_step,
            "micro_batch": micro_batch,
            "device": record.provenance.numerics.get("device", "cpu"),
            "init_dir": str(init_dir) if init_dir else None,
            "keys": prepared_clips.load_index(store, prepared, "train")["key"].to_pylist(),
            "parts": [
                {"uri": f"{store.uri}/{prepared.folder}/{part.name}", "rows": part.rows, "sha256": part.sha256}
                for part in parts
            ],
            "hold": sum(part.memory_bytes for part in parts) <= StoredClips.HELD_BYTES,
        }
        result = Replay(stored_steps=max(stored))
        with _child(job, Path(scratch)) as lines:
            for line in lines:
                if "device" in line:  # the first line, before any step
                    result.numerics, result.versions = _environment_differences(record, line["device"])
                    say(told_numerics(result.numerics))
                if "step" in line:
                    _compare(result, line["step"], stored.get(line["step"], {}), line["values"])
                    on_step(line["step"], last_step)
    return result


def told_numerics(differing: list[Difference]) -> str:
    """What to expect of a replay on this machine, whose numerics class differs from the stored one in these fields."""
    if not differing:
        return "numerics class is the same: every value should come out the same, bit for bit"
    return (
        f"numerics class differs: {pairs(differing)}; bits are promised within one class only, so roundings may differ"
    )


def pairs(differences: list[Difference]) -> str:
    """Then and now, in a line."""
    return ", ".join(
        f"{d.path} {UNKNOWN if d.left is None else d.left} then, {'none' if d.right is None else d.right} now"
        for d in differences
    )


def stored_curve(store: SweepStore, record: TrialRecord) -> Curve:
    """The trial's committed curve. Raises StoreError when it is gone or altered."""
    curve: Curve = {}
    for point in metrics_from_table(from_parquet(store.open_file(record.trial_id, "metrics.parquet"))):
        curve.setdefault(point.step, {})[point.name] = point.value
    return curve


def unpack(store: SweepStore, fingerprint: str, folder: Path) -> Path:
    """The stored source in a folder. Raises StoreError when it is gone or would leave the folder."""
    path = f"code/{fingerprint}.tar.gz"
    try:
        with tarfile.open(fileobj=io.BytesIO(store.read(path)), mode="r:gz") as tar:
            tar.extractall(folder, filter="data")
    except FileNotFoundError as error:
        raise StoreError(f"{store.uri}/{path} is gone: without its code the trial cannot be run again") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise StoreError(f"{store.uri}/{path} cannot be unpacked ({error}); copy it back from a backup") from error
    return folder


def runnable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A stored recipe as its own archive can read it: layers as numbers (the archive holds no choice of them), without
    what it starts from (weights come as a folder), and without objective fields that mask_weight 0 makes inactive,
    whose registry entries were not archived."""
    objective, evaluation = dict(recipe["objective"]), dict(recipe["evaluation"])
    evaluation["readout"] = dict(evaluation["readout"])
    for readout in (objective, evaluation["readout"]):
        named = readout["layers"]
        readout["layers"] = list(resolve(named if isinstance(named, str) else tuple(named), recipe["model"]["layers"]))
    if objective["mask_weight"] == 0:
        objective = {name: objective[name] for name in ("text_weight", "mask_weight", "layers")}
    return {**recipe, "init": None, "objective": objective, "evaluation": evaluation}


def _prepared(store: SweepStore, record: TrialRecord, source: Path, cache: Path, say: Say) -> PreparedData:
    """The decoded clips of the store. Where they are gone they are made again, if code and files are still the same."""
    data: DataConfig = TypeAdapter(DataConfig).validate_python(record.recipe["data"])
    fingerprint = naming.clips_fingerprint(data, record.data_fingerprint, source)
    if (stored_clips := prepared_clips.load_prepared(store, fingerprint)) is not None:
        return stored_clips
    reason = f"the decoded clips of this trial (clips/{fingerprint}) are not in {store.uri}"
    current = naming.data_fingerprint(data, cache)
    if current != record.data_fingerprint:
        if isinstance(data, NLReferFiles):
            raise ValueError(
                f"{reason}, and the files are not what it saw: {', '.join(data.annotations)} with videos in "
                f"{data.videos} have fingerprint {current}, the record says {record.data_fingerprint}: bring those back"
            )
        raise ValueError(f"{reason}, and today's code draws other clips; {_checkout(record)}")
    if naming.clips_fingerprint(data, current) != fingerprint:
        raise ValueError(f"{reason}, and today's code decodes otherwise; {_checkout(record)}")
    say(f"{reason}: they are made again first, with Ray")
    import ray.data  # noqa: F401  # first: its import sets up logging, which would undo the session's quiet

    from swimlab.data import preparation
    from swimlab.execution import cluster

    with cluster.session():
        return preparation.prepare(data, fingerprint, store, cache)


def _checkout(record: TrialRecord) -> str:
    sha = record.provenance.git_sha
    return f"check out {sha[:12]} and replay from there" if sha else "replay from the source that made it"


@contextmanager
def _child(job: dict[str, Any], scratch: Path) -> Iterator[Iterator[dict[str, Any]]]:
    """The lines that the child process writes. Raises ReplayError with its last output when it fails."""
    reading, writing = os.pipe()
    description, errors = scratch / "job.json", scratch / "stderr"
    description.write_text(json.dumps(job | {"descriptor": writing}))
    # -P: the folder of the script holds swimlab's modules, which are nobody's top-level names.
    command = [sys.executable, "-P", replay_child.__file__, str(description)]
    # As in the trials' processes (Ray sets the first, torch's own threads are fixed by the stored code).
    settings = {"PYTHONPATH": job["source"], "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with errors.open("wb") as stderr, os.fdopen(reading) as lines:
        process = subprocess.Popen(
            command, env=os.environ | settings, pass_fds=(writing,), stdout=stderr, stderr=subprocess.STDOUT
        )
        os.close(writing)
        try:
            yield (json.loads(line) for line in lines)
            code = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code:
        output = errors.read_text("utf-8", "replace").strip()
        if lacking := re.search(r"ModuleNotFoundError: No module named '(swim\.[^']*)'", output):
            raise ReplayError(
                f"the stored source lacks {lacking[1]}, which this trial loads: its code fingerprint does not cover it"
            )
        raise ReplayError(f"the stored code ended with {code}: {output[-2000:] or 'it said nothing'}")


def _compare(result: Replay, step: int, stored: Mapping[str, float], values: Mapping[str, float]) -> None:
    result.compared_steps = step
    for name in (name for name in values if name in stored):
        if result.first is None and stored[name] != values[name]:
            result.first = (step, name, stored[name], values[name])
    if "loss" in stored and "loss" in values:
        result.last_gap = abs(stored["loss"] - values["loss"])


def _environment_differences(record: TrialRecord, device: str) -> tuple[list[Difference], list[Difference]]:
    """What differs between the stored run and this machine, in numerics class and versions. The child inherits this
    process's environment, and with it which processor features torch uses."""
    from swimlab.execution.numerics import numerics_class  # imports torch, which this module's other users do without

    then = record.provenance
    now = numerics_class(device=device, dtype=str(then.numerics.get("dtype")), world_size=1)
    return compared(then.numerics, now), compared(then.versions, provenance.versions())
