"""Runs an examination: Ray Data over the annotation files, then every video once, then a few rows decoded and drawn.

One task finds the parts of a file while others read and check them; the driver merges a tally and the broken rows of
each part. Memory grows only by 8 bytes per distinct video: broken rows are written to the store 20,000 at a time, and
the requirements of rows on their videos are kept on disk.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swim.data.rows.read import Part, extent, size_bytes, split
from swim.data.types import DataError
from swim.data.video.decoder import Decoder
from swim.recipe import FramePolicy
from swimlab.data.context_limit import ContextLimit
from swimlab.data.doctor import scenes
from swimlab.data.doctor.row_checks import (
    BROKEN_SCHEMA,
    CLAIM_SCHEMA,
    Inspection,
    InspectionConfig,
    check_part,
    stopped,
)
from swimlab.data.doctor.scenes import Scene
from swimlab.data.doctor.tally import Pick, Suspect, Tally
from swimlab.data.doctor.video_checks import DecodeTrial, VideoRequirements, check_videos, try_row
from swimlab.store.sweep_store import SweepStore

ReportProgress = Callable[[str, int, int], None]
"""Called with the stage, the amount done and the total."""

ROWS_PER_PART = 4000  # some seconds of work; a tally of their rows is 100 kB
BROKEN_ROWS_PER_FILE = 20_000


@dataclass
class Examination:
    """The result of an examination. `problems`: file → why it could not be read to its end."""

    tally: Tally
    sizes: dict[str, int]
    problems: dict[str, str]
    trials: list[DecodeTrial] = field(default_factory=list)
    scenes: list[Scene] = field(default_factory=list)
    broken_files: list[str] = field(default_factory=list)


def run(
    exam: InspectionConfig, store: SweepStore, folder: str, scratch: Path, cpus: int, progress: ReportProgress
) -> Examination:
    """Run an examination on a started Ray. Broken rows are written to `folder` of the store. Raises OSError when videos
    on S3 cannot be reached, StoreError when the store cannot be written."""
    sizes, problems = _sizes(exam.annotations)
    outcome = Examination(Tally(exam.decode), sizes, problems)
    with VideoRequirements(scratch) as claims:
        examiner = _Examiner(exam, outcome, _BrokenRows(store, folder), claims, cpus, progress)
        examiner.read_rows()
        examiner.check_videos()
    examiner.load_scenes()
    examiner.close()
    return outcome


def _sizes(files: Iterable[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Sizes in bytes of the files that can be opened, and reasons for the others."""
    sizes, problems = {}, {}
    for name in files:
        try:
            sizes[name] = size_bytes(name)
        except DataError as error:
            problems[name] = stopped(error)
    return sizes, problems


@dataclass
class _Examiner:
    """An examination under way: what it has found so far is in `outcome`. `actors` decode videos, once they are
    needed."""

    exam: InspectionConfig
    outcome: Examination
    broken: _BrokenRows
    claims: VideoRequirements
    cpus: int
    progress: ReportProgress
    actors: list[Any] = field(default_factory=list)

    def read_rows(self) -> None:
        """Checks every row by itself."""
        outcome = self.outcome
        total, done = sum(outcome.sizes.values()), 0
        unit, scale = ("MB", 1_000_000) if total >= 10_000_000 else ("kB", 1000)
        for result in _parts_checked(self.exam, list(outcome.sizes), self.cpus):
            if result["problem"]:
                outcome.problems.setdefault(result["file"], result["problem"])
            if not result["tally"]:
                continue
            self._add(result)
            if self.exam.videos:
                self.claims.add(_table(result["claims"]))
            done += round(result["share"] * outcome.sizes[result["file"]])
            self.progress(f"read annotations, {unit}", done // scale, total // scale)

    def check_videos(self) -> None:
        """Checks every video once, then decodes the sampled rows."""
        if not self.exam.videos or not self.claims.rows:
            return
        total, done = len(self.outcome.tally.videos), 0
        self._start(total)
        for result, videos in _in_turn(self.actors, "check", self.claims.chunks()):
            self._add(result)
            done += videos
            self.progress("look at videos", done, total)
        picks, trials = self.outcome.tally.sample, self.outcome.trials
        for trial in _in_turn(self.actors, "decode", (pick.model_dump_json() for pick in picks)):
            trials.append(DecodeTrial.model_validate_json(trial))
            self.progress("decode some rows", len(trials), len(picks))

    def load_scenes(self) -> None:
        """Loads the rows that are drawn."""
        suspects = scenes.chosen(self.outcome.tally)
        self._start(len(suspects))
        for scene in _in_turn(self.actors, "scene", (suspect.model_dump_json() for suspect in suspects)):
            self.outcome.scenes.append(scene)
            self.progress("draw rows", len(self.outcome.scenes), len(suspects))

    def close(self) -> None:
        """Ends the actors and writes the last broken rows."""
        import ray

        for actor in self.actors:
            ray.kill(actor)
        self.outcome.broken_files = self.broken.close()

    def _start(self, items: int) -> None:
        import ray

        worker = ray.remote(num_cpus=1, max_restarts=2, max_task_retries=2)(_VideoWorker)
        arguments = self.exam.videos, self.exam.frames.model_dump_json(), self.exam.decode, self.exam.context
        self.actors += [worker.remote(*arguments) for _ in range(min(self.cpus, items) - len(self.actors))]

    def _add(self, result: dict[str, Any]) -> None:
        self.outcome.tally.merge(Tally.from_json(json.loads(result["tally"])))
        self.broken.add(_table(result["broken"]))


def _parts_checked(exam: InspectionConfig, files: list[str], cpus: int) -> Iterator[dict[str, Any]]:
    """One result for each part, in the order of files and rows."""
    if not files:
        return
    import ray.data
    from ray.data import ExecutionOptions, ExecutionResources, TaskPoolStrategy

    finders = min(len(files), max(1, cpus // 8))
    items = ray.data.from_items([{"file": name} for name in files], override_num_blocks=len(files))
    # Finding rows takes a small part of the time that checking them takes, so it reserves no CPU; operators of
    # different needs are not fused, and checking begins with the first part found.
    parts = items.map_batches(
        _find_parts, batch_size=1, num_cpus=0, fn_args=(ROWS_PER_PART,), compute=TaskPoolStrategy(size=finders)
    )
    checked = parts.map_batches(
        _check,
        batch_size=1,
        num_cpus=0.5,  # two per core: one works while Ray Data hands out the next part, which takes 0.1 to 0.3 s
        fn_args=(exam.model_dump_json(),),
    )
    context = checked.context
    context.enable_progress_bars = False
    context.execution_options = ExecutionOptions(
        preserve_order=True, resource_limits=ExecutionResources.for_limits(cpu=cpus)
    )
    # Blocks of one part: else a file's parts are handed on together when its last one is found.
    context.target_max_block_size = context.target_min_block_size = 1
    for batch in checked.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from batch.to_pylist()


def _find_parts(batch: dict[str, Any], rows_per_part: int) -> Iterator[dict[str, Any]]:
    """Task: the parts of a file, one by one, and the error that ends them, if any."""
    for name in batch["file"].tolist():
        try:
            units = extent(name)
            for part in split(name, rows_per_part):
                share = (part.end - part.start) / units if units else 0.0
                yield {"file": [name], "part": [part.model_dump_json()], "share": [share], "problem": [""]}
        except DataError as error:
            yield {"file": [name], "part": [""], "share": [0.0], "problem": [stopped(error)]}


def _check(batch: dict[str, Any], exam: str) -> dict[str, Any]:
    """Task: a part → its inspection."""
    (name,), (text,), (problem,) = batch["file"], batch["part"], batch["problem"]
    packed = {"tally": "", "broken": b"", "claims": b"", "problem": str(problem)}
    if text:
        packed = _serialised_inspection(
            check_part(Part.model_validate_json(text), InspectionConfig.model_validate_json(exam))
        )
    return {"file": [name], "share": batch["share"]} | {key: [value] for key, value in packed.items()}


def _in_turn(actors: list[Any], method: str, items: Iterable[Any]) -> Iterator[Any]:
    """Results in the order of the items, with at most two items per actor in flight."""
    import ray

    under_way: deque[Any] = deque()
    for number, item in enumerate(items):
        under_way.append(getattr(actors[number % len(actors)], method).remote(item))
        if len(under_way) >= 2 * len(actors):
            yield ray.get(under_way.popleft())
    while under_way:
        yield ray.get(under_way.popleft())


class _VideoWorker:
    """Actor: probes videos and decodes rows, in a subprocess that may hang or die."""

    def __init__(self, videos: str | None, frames: str, picks: int, context: ContextLimit | None) -> None:
        self._videos, self._picks, self._context = videos, picks, context
        self._policy = FramePolicy.model_validate_json(frames)

    @cached_property
    def _decoder(self) -> Decoder:
        assert self._videos is not None
        return Decoder(self._videos, self._policy)

    @cached_property
    def _painter(self) -> Decoder | None:
        policy = scenes.PICTURE.model_copy(update={"numbering": self._policy.numbering})
        return Decoder(self._videos, policy, deadline_s=scenes.DECODE_S) if self._videos else None

    def check(self, claims: pa.Table) -> tuple[dict[str, Any], int]:
        """The inspection of a chunk of claims, and its number of videos."""
        inspection = check_videos(claims, self._decoder, self._policy, self._picks, self._context)
        return _serialised_inspection(inspection), len(claims["video"].unique())

    def decode(self, pick: str) -> str:
        """The timed decoding of one row, as JSON."""
        return try_row(Pick.model_validate_json(pick), self._decoder).model_dump_json()

    def scene(self, suspect: str) -> Scene:
        """A row that is drawn."""
        return scenes.load_scene(Suspect.model_validate_json(suspect), self._painter)


def _serialised_inspection(inspection: Inspection) -> dict[str, Any]:
    return {
        "tally": json.dumps(inspection.tally.to_json()),
        "broken": _bytes(pa.Table.from_pylist([row.model_dump() for row in inspection.broken], schema=BROKEN_SCHEMA)),
        "claims": _bytes(pa.Table.from_pylist(inspection.claims, schema=CLAIM_SCHEMA)),
        "problem": inspection.problem,
    }


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _table(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()


class _BrokenRows:
    """Writes broken rows to Parquet files of the store as they arrive."""

    def __init__(self, store: SweepStore, folder: str) -> None:
        self._store, self._folder = store, folder
        self._waiting: list[pa.Table] = []
        self._names: list[str] = []

    def add(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        if sum(table.num_rows for table in self._waiting) >= BROKEN_ROWS_PER_FILE:
            self._write()

    def close(self) -> list[str]:
        """Write the rest; the names of the files, at least one."""
        if self._waiting or not self._names:
            self._write()
        return self._names

    def _write(self) -> None:
        table = pa.concat_tables([BROKEN_SCHEMA.empty_table(), *self._waiting])
        self._waiting = []
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        content: bytes = sink.getvalue().to_pybytes()
        # Named by content, so that files of an earlier report stay until the new report is written.
        name = f"broken-{len(self._names):05d}-{hashlib.sha256(content).hexdigest()[:12]}.parquet"
        self._store.backend.replace(f"{self._folder}/{name}", content)
        self._names.append(name)
