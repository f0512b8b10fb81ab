"""Runs a stored trial again, from stored code, stored data and its seed, and compares the curve bit for bit.

Training happens in a process of its own without Ray, with the trial's own `swim` first on its path. What is stored as
code is run as it is: whoever can write to the store decides what it does here, with the rights of this user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from swim.recipe import DataConfig, ModelConfig, NLReferFiles, Recipe
from swim.supervision.layers import resolve
from swimlab.data import prepared_clips
from swimlab.data.prepared_clips import PreparedData, StoredClips
from swimlab.execution import replay_process
from swimlab.execution.replay_source import StoredSource, stored_source
from swimlab.identity import naming
from swimlab.identity.canonical import plain_fields
from swimlab.identity.splits import CHOOSING_FIELDS
from swimlab.stats.pairing import UNKNOWN
from swimlab.store import provenance
from swimlab.store.arrow_tables import from_parquet, metrics_from_table
from swimlab.store.records import TrialRecord
from swimlab.store.scratch import scratch_folder
from swimlab.store.sweep_store import SweepStore
from swimlab.store.trial_diff import Difference, compared

Say = Callable[[str], None]
Curve = dict[int, dict[str, float]]
"""Step → name → value."""


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
    source: StoredSource | None = None,
    say: Say = lambda text: None,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Replay:
    """Trains the first `steps` steps again (default: all that are stored) on this machine, by the code in the store
    (`source`: read already). Call it for stores whose writers you trust.

    Raises StoreError for a file of the store that is gone or altered, its code included, ValueError for data that is
    not what the trial saw, ReplayError when the stored code does not run here.
    """
    stored = stored_curve(store, record)
    if not stored:
        raise ValueError(f"trial {record.trial_id} trained for 0 steps: there is no curve to compare")
    last_step = min(steps or max(stored), max(stored))
    with scratch_folder("replay") as scratch:
        folder = (source or stored_source(store, record)).unpack(scratch / "source")
        prepared = _prepared(store, record, folder, cache, say)
        clips = StoredClips(store, prepared, "train")
        init_dir = None
        if record.init_trial_id:
            init_dir = store.download(record.init_trial_id, "checkpoint/", scratch / "init")
        job = {
            "source": str(folder),
            "recipe": runnable(record.recipe),
            "steps": last_step,
            "micro_batch": micro_batch,
            "device": record.provenance.numerics.get("device", "cpu"),
            "init_dir": str(init_dir) if init_dir else None,
            "keys": clips.keys,
        }
        result = Replay(stored_steps=max(stored))
        with replay_process.started(job, clips, folder, scratch) as lines:
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


def runnable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A stored recipe as its own archive can read it: layers as numbers (the archive holds no choice of them), without
    what it starts from (weights come as a folder), without objective fields that mask_weight 0 makes inactive, whose
    registry entries were not archived, without newer fields that have their default (equal code is archived once, with
    the schema of its first trial), and without the clips that choose, which no code is named by."""
    if "evaluation" not in recipe:
        fields = plain_fields(Recipe.model_validate({**recipe, "init": None}), leave_out=("evaluation",))
        fields["data"] = {name: value for name, value in fields["data"].items() if name not in CHOOSING_FIELDS}
        recipe = to_jsonable_python(fields)
    objective = dict(recipe["objective"])
    # Of a record that was written before suites were registered; a newer archive holds no suite to configure.
    evaluation, readouts = dict(recipe.get("evaluation", {})), [objective]
    if evaluation:
        evaluation["readout"] = dict(evaluation["readout"])
        readouts.append(evaluation["readout"])
    for readout in readouts:
        named = readout["layers"]
        readout["layers"] = list(resolve(named if isinstance(named, str) else tuple(named), recipe["model"]["layers"]))
    if objective["mask_weight"] == 0:
        objective = {name: objective[name] for name in ("text_weight", "mask_weight", "layers")}
    return {**recipe, "init": None, "objective": objective, "evaluation": evaluation}


def _prepared(store: SweepStore, record: TrialRecord, source: Path, cache: Path, say: Say) -> PreparedData:
    """The decoded clips of the store. Where they are gone they are made again, if code and files are still the same."""
    data: DataConfig = TypeAdapter(DataConfig).validate_python(record.recipe["data"])
    fingerprint = naming.clips_fingerprint(data, record.data_fingerprint, record.recipe["model"], source)
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
    if naming.clips_fingerprint(data, current, record.recipe["model"]) != fingerprint:
        raise ValueError(f"{reason}, and today's code decodes otherwise; {_checkout(record)}")
    say(f"{reason}: they are made again first, with Ray")
    import ray.data  # noqa: F401  # first: its import sets up logging, which would undo the session's quiet

    from swimlab.data import preparation
    from swimlab.execution import cluster

    model: ModelConfig = TypeAdapter(ModelConfig).validate_python(record.recipe["model"])
    with cluster.ray_session():
        return preparation.prepare(data, fingerprint, store, cache, model=model)


def _checkout(record: TrialRecord) -> str:
    sha = record.provenance.git_sha
    return f"check out {sha[:12]} and replay from there" if sha else "replay from the source that made it"


def _compare(result: Replay, step: int, stored: Mapping[str, float], values: Mapping[str, float]) -> None:
    result.compared_steps = step
    for name in (name for name in values if name in stored):
        if result.first is None and stored[name] != values[name]:
            result.first = (step, name, stored[name], values[name])
    if "loss" in stored and "loss" in values:
        result.last_gap = abs(stored["loss"] - values["loss"])


def _environment_differences(record: TrialRecord, device: str) -> tuple[list[Difference], list[Difference]]:
    """What differs between the stored run and this machine, in numerics class and versions. The other process
    has this one's variables that say which processor features torch uses (`replay_process.environment`)."""
    from swimlab.execution.numerics import numerics_class  # imports torch, which this module's other users do without

    then = record.provenance
    now = numerics_class(device=device, dtype=str(then.numerics.get("dtype")), world_size=1)
    return compared(then.numerics, now), compared(then.versions, provenance.versions())
