"""The task of a worker: decodes the rows of one part of an annotation file to clips, or to reasons why not.

A finished part leaves a receipt in the store. When a worker or a whole run is killed, only unfinished parts are lost:
the next run skips the parts that have a receipt. A part with rows that the machine had too little memory or time for
leaves none: it is decoded again, alone (`last_try`). A row that fails so in two preparations, alone each time and some
time apart, counts as unusable.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import PurePosixPath
from typing import Any, Literal

import pyarrow as pa

from swim.data.annotations.samples import parse_row, require_marked, sample_key
from swim.data.rows.read import Part, read_part
from swim.data.types import Clip, DataError, MachineError
from swim.data.video.decoder import shared_decoder
from swim.recipe import FramePolicy, Frozen
from swimlab.data import prepared_clips
from swimlab.data.context_limit import ContextLimit
from swimlab.data.prepared_clips import ClipStore, PipelineError, Split, StoredTable
from swimlab.data.rejected_rows import QuarantinedRow
from swimlab.store.sealed_json import SealedModel, sealed, unsealed

# The preparations lie so far apart: one at once after the other, or beside it, meets the same machine.
SETTLED_AFTER_S = 600.0


class DecodeJob(Frozen):
    """One part of one split, and the folder of its result. With `store_clips` False only the usable rows are
    determined. Without a `context` rows may be of any length."""

    split: Split
    number: int
    part: Part
    videos: str
    formats: tuple[str, ...]
    frames: FramePolicy
    folder: str
    store_clips: bool
    last_try: bool = False
    context: ContextLimit | None = None
    placeholders: Literal["refuse", "keep"] = "refuse"

    @property
    def receipt(self) -> str:
        """The path of this part's receipt."""
        return f"{self.folder}/{self.split}/done-{self.number:06d}-{self._digest}.json"

    def set_aside(self, row: int) -> str:
        """The path of the mark of a row that failed for the machine's sake in the last try."""
        return f"{self.folder}/{self.split}/set-aside-{row:08d}-{self._digest}"

    @property
    def _digest(self) -> str:
        """Of the part, but for the folder of its annotation file."""
        identity = self.part.model_dump_json(exclude={"file"}) + PurePosixPath(self.part.file).name
        return hashlib.sha256(identity.encode()).hexdigest()[:12]


class DecodeResult(SealedModel):
    """A part's result: the key and number of each usable row, the rejected rows, and the
    file of the clips if any were stored."""

    split: Split
    number: int
    usable: tuple[tuple[str, int], ...]
    left_out: tuple[QuarantinedRow, ...]
    table: StoredTable | None

    @property
    def complete(self) -> bool:
        """Whether no row was left out for the machine's sake."""
        return not any(row.machine for row in self.left_out)


def run(job: DecodeJob, store: ClipStore) -> DecodeResult:
    """Task: decode a part, or read its receipt if there is one."""
    if store.exists(job.receipt):
        try:
            return DecodeResult.from_json(store.read(job.receipt))
        except ValueError as error:
            raise PipelineError(
                f"{job.receipt} is damaged ({error}): delete it in {store.uri} and run again"
            ) from error
    decoded: list[dict[str, Any]] = []
    usable: list[tuple[str, int]] = []
    left_out: list[QuarantinedRow] = []
    for row, raw in read_part(job.part):
        try:
            clip = decode_row(raw, row, job)
        except DataError as error:
            key = sample_key(raw, file=job.part.file, row=row)
            machine = isinstance(error, MachineError) and not _is_settled(job, row, store)
            left_out.append(
                QuarantinedRow.of(error, file=job.part.file, row=row, key=key, split=job.split, machine=machine)
            )
            continue
        usable.append((clip.key, row))
        if job.store_clips:
            decoded.append(clip.to_row())
    table = None
    incomplete = any(entry.machine for entry in left_out)
    if decoded and not incomplete:
        table, content = prepared_clips.encode_table(
            pa.Table.from_pylist(decoded, schema=prepared_clips.CLIP_SCHEMA), f"{job.split}/part-{job.number:06d}"
        )
        store.put_create_only(f"{job.folder}/{table.name}", content)
    done = DecodeResult(split=job.split, number=job.number, usable=tuple(usable), left_out=tuple(left_out), table=table)
    if not incomplete:
        store.put_create_only(job.receipt, done.to_json())
    return done


def _is_settled(job: DecodeJob, row: int, store: ClipStore) -> bool:
    """Whether this row's last try failed in the same way in an earlier preparation. Marks its first one."""
    path = job.set_aside(row)
    if not job.last_try or store.put_create_only(path, sealed({"at": round(time.time())})):
        return False
    try:
        marked_at = unsealed(json.loads(store.read(path)), required=True)["at"]
    except (ValueError, LookupError, AttributeError) as error:
        raise PipelineError(f"{path} is damaged ({error}): delete it in {store.uri} and run again") from error
    return bool(time.time() - marked_at >= SETTLED_AFTER_S)


def decode_row(raw: Any, row: int, job: DecodeJob) -> Clip:
    """One row's clip, decoded in a process that may hang or die. Raises DataError for a problem of the row;
    MemoryError and OSError for a problem of the machine (S3 cannot be reached, no process can be started)."""
    try:
        sample = parse_row(raw, file=job.part.file, row=row, formats=job.formats)
        if job.placeholders == "refuse":
            require_marked(sample)
        clip = shared_decoder(job.videos, job.frames).clip(sample)
        if job.context:
            job.context.check(clip, job.frames.cell_px)
        return clip
    except (DataError, MemoryError, OSError):
        raise
    except Exception as unexpected:
        hint = "unexpected: try the row alone with swim.data.video.decode_sample, and please report it"
        raise DataError(f"{type(unexpected).__name__}: {unexpected}", field="row", hint=hint) from unexpected
